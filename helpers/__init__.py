"""Move a PostgreSQL sales pipeline to Snowflake, Databricks and Kafka, and prove that every cell arrived."""
