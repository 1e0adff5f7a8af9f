"""Delta tables, of Databricks or of Spark."""
