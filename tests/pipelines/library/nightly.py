"""The library's figures of the month, in PostgreSQL: what the DAG runs every night, and a person where there is no Airflow."""

from __future__ import annotations

from contextlib import closing

import psycopg2

# Where the source is, PGHOST and its like say.
with closing(psycopg2.connect("")) as connection, connection, connection.cursor() as cursor:
    cursor.execute("SELECT loans.refresh_months()")
