"""Move a PostgreSQL sales pipeline to Snowflake, Databricks and Kafka, and prove that every cell arrived."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
"""The project's folder, which relative paths of its own files start from."""

# jsonschema, which reads notebooks with nbformat, takes this package for an optional one and compiles a grammar of IRIs when it
# is there: a second of CPU in every process, for a format that no notebook's schema has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
