"""PostgreSQL, as the source and as a target."""
