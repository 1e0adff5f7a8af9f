"""Taking stock before a migration: the source as it is, what is asked of it, what the targets allow, and which path fits."""
