"""The local Snowflake stand-in: fakesnow's server over DuckDB, cured where it differs from the real service.

The loader and the verifier talk to it through the genuine connector with the statements they send to the real service;
whatever has to differ is in here, one small function a difference:

    server.py       the routes, and results in parts
    logins.py       passwords, key pairs, access tokens, external OAuth, workload identity
    endings.py      sessions and connections that end before their time, on demand
    statements.py   which statement is answered how, and errors
    cancelling.py   what one session ends that another runs
    alterations.py  ALTER TABLE of columns, RENAME to another schema, CLONE
    tables.py       CREATE, DROP, comments, keys
    databases.py    databases and schemas
    attached.py     grants, masking and row access policies, tags
    dependents.py   streams, clustering and what else hangs on a table
    loading.py      COPY INTO and what it remembers of loaded files
    refusals.py     the value for which a COPY failed
    parquet_columns.py  what COPY makes of a file's columns
    stages.py       stages and the files that a reference names
    notes.py        what DuckDB has no place for
    session.py      one connection: transactions, temporary tables
    wire.py         how values travel
    expressions.py  functions and types
    effects.py      what a session's parameters do
    locks.py        tables that a transaction keeps others away from
    ambiguous.py    a MERGE or an UPDATE that could choose
    limits.py       what is refused for its size or its name
    errors.py       DuckDB's errors in the service's words
    information_schema.py, parameters.py, declared.py, stage.py, names.py  what those are made of

Each imports only from those below it.

It runs only in its own environment. It is for development: passing here is not a proof of passing there.
"""
