"""The local Snowflake stand-in: fakesnow's server over DuckDB, cured where it differs from the real service.

The loader and the verifier talk to it through the genuine connector with the statements they send to the real service;
whatever has to differ is in here, one small function a difference:

    server.py       the routes, and results in parts
    logins.py       passwords, key pairs, access tokens, external OAuth, workload identity
    endings.py      sessions and connections that end before their time, on demand
    first_account.py  the account that the local stack starts with
    statements.py   a statement at a time, and errors
    handlers.py     which statement is answered here and by whom
    cancelling.py   what one session ends that another runs
    alterations.py  ALTER TABLE of columns, RENAME to another schema, CLONE
    tables.py       CREATE, DROP, comments, keys
    databases.py    databases and schemas
    dependents.py   streams, clustering and what else hangs on a table
    grants.py       what is granted to whom
    account_objects.py  roles, users, warehouses, integrations
    masking.py      masking and row access policies at work
    attached.py     masking and row access policies, tags
    access.py       whether a role may, what it sees, whose a new object is
    privileges.py   which statement needs which privileges
    loading.py      COPY INTO and what it remembers of loaded files
    refusals.py     the value for which a COPY failed
    parquet_columns.py  what COPY makes of a file's columns
    stages.py       stages and the files that a reference names
    notes.py        what DuckDB has no place for
    account.py      users, roles and grants, as they are kept
    session.py      one connection: transactions, temporary tables
    wire.py         how values travel
    expressions.py  functions and types
    macros.py       what those call in DuckDB
    texts.py        how a session writes and reads texts
    effects.py      what a session's parameters do
    locks.py        tables that a transaction keeps others away from
    merging.py      MERGE
    transactions.py transactions that are open, and ended from outside
    ambiguous.py    a MERGE or an UPDATE that could choose
    limits.py       what is refused for its size or its name
    errors.py       DuckDB's errors in the service's words
    information_schema.py, parameters.py, declared.py, stage.py, names.py  what those are made of

Each imports only from those below it.

What it does as the service's documentation says has the address beside it, and a test. What it does otherwise:

- A statement that fails while it runs ends its transaction: nothing but ROLLBACK goes on, as with TRANSACTION_ABORT_ON_ERROR = TRUE
  (the service's default goes on).
- Times and timestamps have six digits of a second, and a TIMESTAMP_TZ keeps the instant and not its offset: it is printed as
  TIMESTAMP_LTZ is.
- Names that differ only in case are one: those of which both would be needed are refused, and an unquoted name finds an object whose
  name was quoted in lower case, where the service finds none.
- Numbers are printed by the format TM9 alone; a FLOAT's text has 15 digits, which is the stand-in's choice.
- A collation knows of case and accents, not of a language's order.
- Rows without ORDER BY come in DuckDB's order, the service's have none.
- A number of more than 38 digits is an error in a result, not yet within an expression or a table.
- A view over a table with masking or row access policies shows the table as it is; the condition of a MERGE reads its target's columns
  unmasked.
- The administrator's GRANT to a role that nobody made makes the role; the service refuses.
- JSON_INDENT, STRICT_JSON_OUTPUT, the formats of GEOGRAPHY and GEOMETRY and UNSUPPORTED_DDL_ACTION are held and do nothing; results are
  never cached.
- MERGE is DuckDB's own, refused where it could choose; and also where several rows of the source would delete the same row, which the
  service does, and with ERROR_ON_NONDETERMINISTIC_MERGE = FALSE, where the service chooses.
- Streams cannot be read: CREATE and DROP STREAM are held, CHANGE_TRACKING too, and neither METADATA$ columns nor offsets exist.
- COPY takes Parquet alone, with ON_ERROR = ABORT_STATEMENT, and decimals only by their logical type.
- Parameters of the account, a user, a database or a schema are forgotten when the server ends; the account's TIMEZONE is UTC to begin with.

It runs only in its own environment. It is for development: passing here is not a proof of passing there.
"""
