"""The cells that hold SQL: what lets a notebook read `%%sql`."""

from __future__ import annotations

import os

from IPython import get_ipython


def load_jupysql() -> None:
    """Registers `%sql` and `%%sql`, as `%load_ext sql` does; but reads no settings of the user's, whose notices would stand in the
    evidence, and reports no use to jupysql's makers."""
    os.environ["PLOOMBER_STATS_ENABLED"] = "false"
    os.environ["PLOOMBER_VERSION_CHECK_DISABLED"] = "true"
    from sql._current import _set_sql_magic  # type: ignore[import-untyped]  # half a second, for one cell alone
    from sql.magic import SqlMagic  # type: ignore[import-untyped]

    shell = get_ipython()
    magic = SqlMagic(shell)
    _set_sql_magic(magic)
    shell.register_magics(magic)
