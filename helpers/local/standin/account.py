"""An account: users, roles, warehouses, integrations, and who was granted what on which object.

Kept in one file of the data folder, which is written with every change. What is granted on a table goes with the table: a rename and
a swap take it along, and what is made anew has none of it
(https://docs.snowflake.com/en/user-guide/security-access-control-overview).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Object = tuple[str, ...]
"""Its kind and its names: ("TABLE", database, schema, name), ("WAREHOUSE", name), ("ACCOUNT",). A view is a TABLE here, since both
share one space of names; `Account.views` tells which is one."""

ACCOUNT: Object = ("ACCOUNT",)
ADMINISTRATOR = "ACCOUNTADMIN"
PUBLIC = "PUBLIC"
OWNERSHIP = "OWNERSHIP"

_SYSTEM_ROLES: dict[str, list[str]] = {
    ADMINISTRATOR: ["SYSADMIN", "SECURITYADMIN"],
    "SECURITYADMIN": ["USERADMIN"],
    "SYSADMIN": [],
    "USERADMIN": [],
    PUBLIC: [],
}
"""Each with the roles that were granted to it
(https://docs.snowflake.com/en/user-guide/security-access-control-overview#system-defined-roles)."""

_SYSTEM_GRANTS = (
    ("SECURITYADMIN", "MANAGE GRANTS"), ("USERADMIN", "CREATE USER"), ("USERADMIN", "CREATE ROLE"), ("SYSADMIN", "CREATE DATABASE"),
    ("SYSADMIN", "CREATE WAREHOUSE"),
)  # fmt: skip


class Account:
    """Who may do what. Every change is on disk when the method returns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self.generation = 0
        self._known: dict[Any, Any] = {}
        self.is_new = not file.exists()
        held: dict[str, Any] = {} if self.is_new else json.loads(file.read_text(encoding="utf-8"))
        self.users: dict[str, dict[str, Any]] = held.get("users", {})
        self.roles: dict[str, list[str]] = held.get("roles", {name: [*to] for name, to in _SYSTEM_ROLES.items()})
        self.warehouses: dict[str, dict[str, str]] = held.get("warehouses", {})
        self.integrations: dict[str, dict[str, str]] = held.get("integrations", {})
        self.views: set[Object] = {tuple(each) for each in held.get("views", ())}
        self.managed: set[Object] = {tuple(each) for each in held.get("managed", ())}
        self._granted: dict[Object, dict[tuple[str, str], bool]] = {}
        for what, role, privilege, option in held.get("granted", ()):
            self._granted.setdefault(tuple(what), {})[role, privilege] = option
        self._future: dict[Object, set[tuple[str, str, str]]] = {}
        for where, kind, role, privilege in held.get("future", ()):
            self._future.setdefault(tuple(where), set()).add((kind, role, privilege))
        if self.is_new:
            self._granted[ACCOUNT] = dict.fromkeys(_SYSTEM_GRANTS, False)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What is changed in the block is written at its end; nobody else changes anything meanwhile."""
        with self._lock:
            try:
                yield
            finally:
                self.generation += 1
                self._known.clear()
                self._write()

    def _write(self) -> None:
        held = {
            "users": self.users, "roles": self.roles, "warehouses": self.warehouses, "integrations": self.integrations,
            "views": sorted(self.views), "managed": sorted(self.managed),
            "granted": [[what, *by, option] for what, all_ in self._granted.items() for by, option in all_.items()],
            "future": [[where, *each] for where, all_ in self._future.items() for each in sorted(all_)],
        }  # fmt: skip
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(held), encoding="utf-8")
        unfinished.replace(self._file)

    def known(self, key: Any, made: Callable[[], Any]) -> Any:
        """What was made under a key since the last change."""
        with self._lock:
            if key not in self._known:
                self._known[key] = made()
            return self._known[key]

    # Users

    def set_password(self, user: str, password: str) -> None:
        salt = secrets.token_hex(8)
        self.users[user]["PASSWORD"] = f"{salt}:{_hashed(salt, password)}"

    def admits(self, user: str, password: str) -> bool:
        salt, _, right = str(self.users.get(user, {}).get("PASSWORD", ":")).partition(":")
        return bool(right) and hmac.compare_digest(_hashed(salt, password), right)

    def roles_of(self, user: str) -> list[str]:
        """Those that were granted to a user, and PUBLIC, which everybody has."""
        return [*self.users.get(user, {}).get("ROLES", ()), PUBLIC]

    # Roles

    def reach(self, *roles: str) -> frozenset[str]:
        """The roles whose privileges some roles have: themselves, what was granted to them, PUBLIC."""

        def found() -> frozenset[str]:
            waiting, seen = [*roles, PUBLIC], set[str]()
            while waiting:
                if (one := waiting.pop()) not in seen:
                    seen.add(one)
                    waiting += self.roles.get(one, ())
            return frozenset(seen)

        reached: frozenset[str] = self.known(("reach", roles), found)
        return reached

    def drop_role(self, role: str, heir: str) -> None:
        """What it owned is its dropper's from then on (https://docs.snowflake.com/en/sql-reference/sql/drop-role)."""
        self.roles.pop(role, None)
        for granted in self.roles.values():
            granted[:] = [each for each in granted if each != role]
        for user in self.users.values():
            user["ROLES"] = [each for each in user.get("ROLES", ()) if each != role]
        for all_ in self._granted.values():
            if all_.pop((role, OWNERSHIP), None) is not None:
                all_[heir, OWNERSHIP] = True
            for by in [by for by in all_ if by[0] == role]:
                del all_[by]
        for where in self._future.values():
            where.difference_update([each for each in where if each[1] == role])

    # Privileges

    def exists(self, what: Object) -> bool:
        return what in self._granted

    def holds(self, roles: frozenset[str], what: Object, *privileges: str) -> bool:
        """Whether some roles have any of some privileges; owners have every one, and without one named any will do."""
        if ADMINISTRATOR in roles:
            return True
        return any(
            role in roles and (not privileges or privilege == OWNERSHIP or privilege in privileges)
            for role, privilege in tuple(self._granted.get(what, ()))
        )

    def owner(self, what: Object) -> str | None:
        return next((role for role, privilege in tuple(self._granted.get(what, ())) if privilege == OWNERSHIP), None)

    def grants(self, what: Object) -> list[tuple[str, str, bool]]:
        """Role, privilege, and whether it may be granted further; the owner's first."""
        found = [(*by, option) for by, option in self._granted.get(what, {}).items()]
        return sorted(found, key=lambda each: (each[1] != OWNERSHIP, each[1], each[0]))

    def grants_to(self, role: str) -> list[tuple[Object, str, bool]]:
        return sorted(
            (what, privilege, option)
            for what, all_ in self._granted.items() for (to, privilege), option in all_.items() if to == role
        )  # fmt: skip

    def future(self, where: Object) -> set[tuple[str, str, str]]:
        """Kind, role and privilege of what is going to be made in a schema or a database."""
        return self._future.get(where, set())

    def future_to(self, role: str) -> list[tuple[Object, str, str]]:
        return sorted(
            (where, kind, privilege)
            for where, all_ in self._future.items() for kind, to, privilege in all_ if to == role
        )  # fmt: skip

    def objects(self, kind: str, *names: str) -> list[Object]:
        """Of a kind, within a database or a schema."""
        return [each for each in self._granted if each[0] == kind and each[1 : 1 + len(names)] == names]

    def grant(self, what: Object, role: str, privileges: Iterable[str], *, option: bool = False) -> None:
        held = self._granted.setdefault(what, {})
        for privilege in privileges:
            held[role, privilege] = option or held.get((role, privilege), False)

    def revoke(self, what: Object, role: str, privileges: Iterable[str]) -> None:
        held = self._granted.get(what, {})
        for privilege in privileges:
            held.pop((role, privilege), None)

    def grant_future(self, where: Object, kind: str, role: str, privileges: Iterable[str]) -> None:
        self._future.setdefault(where, set()).update((kind, role, privilege) for privilege in privileges)

    def revoke_future(self, where: Object, kind: str, role: str, privileges: Iterable[str]) -> None:
        self._future.get(where, set()).difference_update((kind, role, privilege) for privilege in privileges)

    def own(self, what: Object, role: str, *, kind: str | None = None) -> None:
        """Says whose a new object is, with what future grants give on it.

        Those of the schema take the place of the database's for the same kind
        (https://docs.snowflake.com/en/user-guide/security-access-control-configure#considerations).
        """
        self._granted[what] = {(role, OWNERSHIP): True}
        kind = kind or what[0]
        within: list[Object] = (
            [("SCHEMA", *what[1:3]), ("DATABASE", what[1])] if len(what) == 4 else [("DATABASE", what[1])]
        )
        for where in within if len(what) > 2 else ():
            given = [(to, privilege) for of, to, privilege in self.future(where) if of == kind]
            for to, privilege in given:
                if privilege == OWNERSHIP:
                    self.give(what, to, keep=True)
                elif to != role:  # whose it is needs none
                    self._granted[what][to, privilege] = False
            if given:
                return

    def give(self, what: Object, role: str, *, keep: bool) -> None:
        """Another owner; the other grants stay or go."""
        held = self._granted.get(what, {})
        kept = {by: option for by, option in held.items() if by[1] != OWNERSHIP} if keep else {}
        self._granted[what] = {(role, OWNERSHIP): True, **kept}

    def forget(self, what: Object) -> None:
        """An object was dropped, with all that it held."""
        within = what[1:]
        gone = [each for each in self._granted if each == what or (_holds(what[0]) and len(each) > len(what) and each[1 : len(what)] == within)]  # fmt: skip
        for each in gone:
            del self._granted[each]
            self.views.discard(each)
            self.managed.discard(each)
        for where in [
            each for each in self._future if each == what or (_holds(what[0]) and each[1 : len(what)] == within)
        ]:
            del self._future[where]

    def rename(self, old: Object, new: Object) -> None:
        self._granted[new] = self._granted.pop(old, {})
        if old in self.views:
            self.views.remove(old)
            self.views.add(new)

    def swap(self, one: Object, other: Object) -> None:
        """Two tables exchange their names; what was granted stays with the table."""
        self._granted[one], self._granted[other] = self._granted.get(other, {}), self._granted.get(one, {})


def _holds(kind: str) -> bool:
    return kind in ("DATABASE", "SCHEMA")


def _hashed(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}{password}".encode()).hexdigest()
