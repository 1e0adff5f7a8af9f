"""INFORMATION_SCHEMA and DESCRIBE TABLE: the real service's columns over DuckDB's catalogue and our notes in it."""

from __future__ import annotations

# What the real service's views say of a column, from what was declared or else from what DuckDB stores.
COLUMNS = """
select database_name, schema_name, table_name, column_name, column_index, is_nullable,
       -- The real service prints a constant as it has to be written there, where a backslash escapes.
       replace(column_default, '\\', '\\\\') as column_default, note ->> '$.comment' as said,
       (note ->> '$.key')::integer as key_position,
       coalesce(note ->> '$.type', case
           when numeric_precision is not null and data_type != 'DOUBLE' then 'NUMBER'
           when data_type = 'VARCHAR' then 'TEXT' when data_type = 'DOUBLE' then 'FLOAT'
           when data_type = 'BLOB' then 'BINARY' when data_type = 'TIMESTAMP' then 'TIMESTAMP_NTZ'
           when data_type = 'TIMESTAMP WITH TIME ZONE' then 'TIMESTAMP_TZ' when data_type = 'JSON' then 'VARIANT'
           else data_type end) as type,
       case when type in ('TEXT', 'BINARY')
            then coalesce((note ->> '$.length')::bigint, case type when 'TEXT' then 16777216 else 8388608 end)
       end as length,
       case when type = 'NUMBER' then case when starts_with(data_type, 'DECIMAL') then numeric_precision else 38 end
       end as digits,
       case when type = 'NUMBER' then case when starts_with(data_type, 'DECIMAL') then numeric_scale else 0 end
       end as scale,
       case when type like 'TIME%' then coalesce((note ->> '$.precision')::bigint, 9) end as fraction
from (select *, case when comment is not null then comment::json end as note from duckdb_columns()
      where not internal and $condition)
"""

DESCRIBE = """
select column_name as "name",
       case when type = 'NUMBER' then 'NUMBER(' || digits || ',' || scale || ')'
            when type = 'TEXT' then 'VARCHAR(' || length || ')'
            when type = 'BINARY' then 'BINARY(' || length || ')'
            when type like 'TIME%' then type || '(' || fraction || ')' else type end as "type",
       'COLUMN' as "kind", case when is_nullable then 'Y' else 'N' end as "null?", column_default as "default",
       case when key_position is null then 'N' else 'Y' end as "primary key", 'N' as "unique key", null::varchar as "check", null::varchar as "expression",
       said as "comment", null::varchar as "policy name", null::varchar as "privacy domain"
from ($columns) order by column_index
"""

KEYS = """
select to_timestamp(0) as "created_on", database_name as "database_name", schema_name as "schema_name",
       table_name as "table_name", column_name as "column_name", key_position as "key_sequence",
       'SYS_CONSTRAINT_' || table_name as "constraint_name", 'false' as "rely", null::varchar as "comment"
from ($columns) where key_position is not null order by database_name, schema_name, table_name, key_position
"""

OWN = "database_name = $database and schema_name not in ('main', '_fs_information_schema')"

VIEWS = {
    "_fs_columns": f"""
select database_name as TABLE_CATALOG, schema_name as TABLE_SCHEMA, table_name as TABLE_NAME,
       column_name as COLUMN_NAME, column_index as ORDINAL_POSITION, column_default as COLUMN_DEFAULT,
       case when is_nullable then 'YES' else 'NO' end as IS_NULLABLE, type as DATA_TYPE,
       length as CHARACTER_MAXIMUM_LENGTH,
       case when type = 'TEXT' then least(length * 4, 16777216) else length end as CHARACTER_OCTET_LENGTH,
       digits as NUMERIC_PRECISION, case when type = 'NUMBER' then 10 end as NUMERIC_PRECISION_RADIX,
       scale as NUMERIC_SCALE, fraction as DATETIME_PRECISION, null::varchar as COLLATION_NAME,
       'NO' as IS_IDENTITY, said as COMMENT
from ({COLUMNS.replace("$condition", OWN)})""",
    "_fs_tables": f"""
select database_name as TABLE_CATALOG, schema_name as TABLE_SCHEMA, table_name as TABLE_NAME,
       'ACCOUNTADMIN' as TABLE_OWNER, 'BASE TABLE' as TABLE_TYPE, 'NO' as IS_TRANSIENT,
       null::varchar as CLUSTERING_KEY, estimated_size as ROW_COUNT, 0 as BYTES, 1 as RETENTION_TIME,
       to_timestamp(coalesce((case when comment is not null then comment::json ->> '$.created' end)::bigint, 0) / 1000) as CREATED, to_timestamp(0) as LAST_ALTERED, 'NO' as AUTO_CLUSTERING_ON,
       case when comment is not null then comment::json ->> '$.comment' end as COMMENT,
       'NO' as IS_TEMPORARY, 'NO' as IS_ICEBERG, 'NO' as IS_DYNAMIC, 'NO' as IS_HYBRID
from duckdb_tables() where {OWN}
union all
select database_name, schema_name, view_name, 'ACCOUNTADMIN', 'VIEW', null, null, null, null, null,
       to_timestamp(0), to_timestamp(0), 'NO', null, 'NO', 'NO', 'NO', 'NO'
from duckdb_views() where not internal and {OWN}""",
    "_fs_schemata": f"""
select database_name as CATALOG_NAME, schema_name as SCHEMA_NAME, 'ACCOUNTADMIN' as SCHEMA_OWNER,
       'NO' as IS_TRANSIENT, 'NO' as IS_MANAGED_ACCESS, 1 as RETENTION_TIME, to_timestamp(0) as CREATED,
       to_timestamp(0) as LAST_ALTERED, null::varchar as COMMENT
from duckdb_schemas() where {OWN}""",
    "_fs_views": f"""
select database_name as TABLE_CATALOG, schema_name as TABLE_SCHEMA, view_name as TABLE_NAME,
       'ACCOUNTADMIN' as TABLE_OWNER, sql as VIEW_DEFINITION, null::varchar as COMMENT
from duckdb_views() where not internal and {OWN}""",
    "databases": """
select database_name as DATABASE_NAME, 'ACCOUNTADMIN' as DATABASE_OWNER, 'NO' as IS_TRANSIENT,
       null::varchar as COMMENT, to_timestamp(0) as CREATED, to_timestamp(0) as LAST_ALTERED, 1 as RETENTION_TIME,
       'STANDARD' as TYPE
from duckdb_databases() where not internal and database_name not in ('memory', '_fs_global')""",
    "_fs_load_history": """
select loads.file as FILE_NAME, tables.schema_name as SCHEMA_NAME, tables.table_name as TABLE_NAME,
       loads.loaded_at as LAST_LOAD_TIME, 'LOADED' as STATUS, loads.rows as ROW_COUNT, loads.rows as ROW_PARSED
from $loads as loads join duckdb_tables() as tables
  on tables.comment is not null and tables.comment::json ->> '$.id' = loads.table_id
 and tables.database_name = $database""",
}
