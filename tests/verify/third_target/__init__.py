"""A target that the product does not know: the tables of a DuckDB file, as `docs/adding-a-target.md` takes it."""
