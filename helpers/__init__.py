"""Move a PostgreSQL sales pipeline to Snowflake, Databricks and Kafka, and prove that every cell arrived."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
"""The project's folder, which relative paths of its own files start from."""
