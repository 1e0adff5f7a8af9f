"""Where a source is, as people have it written down: a URL, a service, keys, and what contradicts.

Would catch: a part of a URL that is left unread, a password in an error, a key that another one makes nobody read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from helpers import redaction
from helpers.platforms import postgres
from helpers.settings import Resolved, Source

PLAIN = {"host": "db.example.com", "dbname": "d", "user": "u"}


def _from_url(url: str, **keys: Any) -> Source:
    return Source.model_validate({"url": Resolved(url), **keys})


def test_all_of_a_url_arrives_at_the_drivers() -> None:
    url = (
        "postgresql+psycopg2://me:p%40ss-of-the-url@a.example.com:5433,b.example.com/sales?sslmode=require&channel_binding=require"
        "&target_session_attrs=primary&connect_timeout=7&options=-c%20geqo%3Doff&keepalives_idle=11&application_name=theirs"
    )
    source = _from_url(url, schemas=["s"])
    assert source.hosts == (("a.example.com", 5433), ("b.example.com", 5432))
    assert source.schemas == ("s",)
    assert redaction.redact("p@ss-of-the-url") == redaction.HIDDEN
    assert "p@ss" not in repr(source)
    found = postgres.keywords(source)
    given = {
        "host": "a.example.com,b.example.com", "port": "5433,5432", "dbname": "sales", "user": "me", "sslmode": "require",
        "password": "p@ss-of-the-url", "channel_binding": "require", "target_session_attrs": "primary", "keepalives_idle": "11",
        "application_name": "migration-runbooks", "connect_timeout": "7",
    }  # fmt: skip
    assert {name: found[name] for name in given} == given
    assert found["options"].startswith("-c geqo=off -c search_path")


@pytest.mark.parametrize(
    ("url", "keys", "says"),
    [
        ("postgresql://u:hidden-word@h/d?pgbouncer=true", {}, "pgbouncer"),
        ("postgresql://u:hidden-word@[h/d", {}, "no URL or DSN"),
        ("postgresql://u:hidden-word@h/d", {"host": "other"}, "host"),
        ("postgresql://u:hidden-word@h/d", {"service": "s"}, "two ways"),
        ("postgresql://u:hidden-word@h/d?replication=database", {}, "replication"),
        ("host=h,i,j port=1,2 user=u dbname=d password=hidden-word", {}, "3 hosts and 2 ports"),
    ],
)
def test_a_url_that_is_not_understood_shows_no_password(url: str, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as told:
        _from_url(url, **keys)
    said = str(told.value.errors(include_input=False, include_url=False))
    assert says in said
    assert "hidden-word" not in said


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"sslrootcert": "system"}, "verify-full"),
        ({"sslcert": "/c.pem"}, "sslkey"),
        ({"sslpassword": Resolved("x")}, "sslkey"),
        ({"password": Resolved("x"), "passfile": "/f"}, "two ways"),
        ({"auth": "rds-iam"}, "sslmode"),
        ({"auth": "rds-iam", "sslmode": "require", "password": Resolved("x")}, "password"),
        ({"auth": "rds-iam", "sslmode": "require", "host": "a,b"}, "several"),
        ({"region": "eu-central-1"}, "rds-iam"),
        ({"connect": {"hots": "x"}}, "connect.hots is no keyword"),
        ({"connect": {"sslmode": "require"}}, "key of the section"),
        ({"connect": {"application_name": "x"}}, "every session"),
        ({"sslcert": "c.pem", "sslkey": "c.key"}, "whole path"),
        ({"port": "5432,x"}, "whole number"),
        ({"port": 70000}, "65535"),
        ({"url": "postgresql://h/d"}, "does not belong"),
    ],
)
def test_keys_that_contradict_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Source.model_validate({**PLAIN, **keys})


def test_a_service_that_is_not_there_names_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "of-the-user"))
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))
    with pytest.raises(ValidationError, match=r"no service \[sales\] in .*of-the-user.*pg_service.conf"):
        Source.model_validate({"service": "sales"})
    (tmp_path / "pg_service.conf").write_text("[sales]\nhost=h\ndbname=d\nuser=u\nuser=second\n")
    found = Source.model_validate({"service": "sales", "user": "mine", "password": Resolved("pw")})
    assert (found.host, found.dbname, found.user) == ("h", "d", "mine")
    assert _from_url("postgresql:///other?service=sales").dbname == "other"
    (tmp_path / "of-the-user").write_text("[sales]\nhost h\n")
    with pytest.raises(ValidationError, match=r"line 2 of the service file .*of-the-user"):
        Source.model_validate({"service": "sales"})


def test_a_token_of_rds_is_signed_anew_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    keys = {"auth": "rds-iam", "region": "eu-central-1", "sslmode": "verify-full"}
    source = Source.model_validate({**PLAIN, "host": "db.x.rds.amazonaws.com", **keys})
    token = postgres.keywords(source)["password"]
    parts = urlsplit(f"https://{token}")
    assert parts.netloc == "db.x.rds.amazonaws.com:5432"
    asked = {name: each[0] for name, each in parse_qs(parts.query).items()}
    assert (asked["Action"], asked["DBUser"], asked["X-Amz-Expires"]) == ("connect", "u", "900")
    assert asked["X-Amz-Credential"].startswith("AKIDEXAMPLE/") and "/eu-central-1/rds-db/" in asked["X-Amz-Credential"]
    assert redaction.redact(token) == redaction.HIDDEN
    later = datetime.now(UTC) + timedelta(minutes=20)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: later)
    assert parse_qs(postgres.keywords(source)["password"])["X-Amz-Date"] == [later.strftime("%Y%m%dT%H%M%SZ")]
