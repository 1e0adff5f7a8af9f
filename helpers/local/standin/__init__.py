"""The local Snowflake stand-in: fakesnow's server over DuckDB, cured where it differs from the real service.

The loader and the verifier talk to it through the genuine connector with the statements they send to the real service;
whatever has to differ is in here, one small function a difference:

    server.py       logging in, closing a session, how results travel
    session.py      one connection: transactions, temporary tables, errors
    tables.py       CREATE, ALTER, DROP, and what was declared
    alterations.py  ALTER TABLE of columns, RENAME to another schema, CLONE
    attached.py     grants, masking and row access policies, tags
    information_schema.py  what the catalogue says of it
    stages.py       stages, COPY INTO and what it remembers of loaded files
    expressions.py  functions and types

It runs only in its own environment. It is for development: passing here is not a proof of passing there.
"""
