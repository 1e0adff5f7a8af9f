"""The Parquet files of an export."""
