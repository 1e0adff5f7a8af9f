"""A first profile: of a database that nobody here has seen, from its catalog and from the folder in which somebody works."""
