"""How fast this project is, measured beside what else there is."""
