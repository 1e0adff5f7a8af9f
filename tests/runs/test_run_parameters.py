"""Parameters are what the notebook declares, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_support import Write

from helpers.errors import UsageError
from helpers.runs.parameters import Text, declared_in, from_arguments, from_file, resolve
from helpers.runs.parameters import _as_declared as as_declared

CELL = """profile: str = "local"
apply: bool = True
tables: list[str] = ["*"]
workers: int = 2
ratio: float = 0.5
note: str | None = None
option: Literal["A", "B"] = "A"
limits: dict[str, int] = {}
"""
TYPES = {parameter.name: parameter.type for parameter in declared_in(CELL, where="test")}


@pytest.fixture
def notebook(write: Write) -> Path:
    return write("30_x", {"parameters": CELL})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("profile=12e4567", "12e4567"),
        ("profile=2024_01_01", "2024_01_01"),
        ("profile=true", "true"),
        ("profile=0123", "0123"),
        ("profile=[x", "[x"),
        ("profile=", ""),
        ("profile=a=b: c", "a=b: c"),
        ("apply=true", True),
        ("apply=False", False),
        ("tables=[a, 12e4567, 0123, 2024-01-01, no]", ["a", "12e4567", "0123", "2024-01-01", "no"]),
        ('tables=["*", sales.*]', ["*", "sales.*"]),
        ("tables=[]", []),
        ("workers=8", 8),
        ("ratio=1", 1.0),
        ("ratio=1e-3", 0.001),
        ("note=null", None),
        ("note=", ""),
        ("note=text", "text"),
        ("option=B", "B"),
        ("limits={sales: 5}", {"sales": 5}),
    ],
)
def test_read_as_declared(notebook: Path, argument: str, value: object) -> None:
    found = resolve(notebook, from_arguments([argument]))[argument.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("aply=true", "did you mean apply?"),
        ("apply=yes", "expected bool, found the text 'yes'"),
        ("apply=1", "expected bool"),
        ("workers=2024_01_01", "expected int, found the text '2024_01_01'"),
        ("workers=1.0", "expected int"),
        ("workers=", "expected int"),
        ("ratio=12e4567", "expected float"),
        ("ratio=.inf", "expected float"),
        ("ratio=nan", "expected float"),
        ("tables=sales", "expected list[str], found the text 'sales'"),
        ("tables=[*]", "quote"),
        ("tables=[a", "not YAML"),
        ("tables=!!python/name:os.system []", "tag"),
        ("tables=[[a]]", "expected list[str], found list"),
        ("option=C", "expected one of 'A', 'B'"),
        ("limits={a: x}", "expected dict[str, int]"),
        ("limits={a: 1, a: 2}", "twice"),
    ],
)
def test_refused_with_a_reason(notebook: Path, argument: str, says: str) -> None:
    with pytest.raises(UsageError, match="parameter") as refused:
        resolve(notebook, from_arguments([argument]))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "x"),
        ("db_password", "x"),
        ("source_dsn", "host=x"),
        ("aws_secret_access_key", "x"),
        ("profile", "postgresql://me:s3cret@host/db"),
        ("profile", "host=h password=s3cret"),
        ("profile", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"[:39] + "9"),
        ("profile", "AKIAIOSFODNN7EXAMPLE"),
        ("profile", "-----BEGIN RSA PRIVATE KEY-----"),
        ("tables", ["ok", "s3://id:secretsecret@bucket"]),
        ("limits", {"password": "s3cret"}),
    ],
)
def test_secrets_are_refused_and_not_repeated(notebook: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match="clear text") as refused:
        resolve(notebook, {name: value})
    for text in ("s3cret", "AKIA", "wJalr"):
        assert text not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    ["s3://bucket/a/b", "9fceb02d0ae598e95dc970b74767f19372d61af8", "postgresql://host:5432/db", "env:PGPASSWORD"],
)
def test_what_only_looks_like_one_is_not(notebook: Path, value: str) -> None:
    assert resolve(notebook, {"profile": value}) == {"profile": value}


def test_a_file(notebook: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("profile: 12e4567\napply: false\ntables:\n  - 2024_01_01\n  - 'x'\nworkers: 3\n")
    assert resolve(notebook, from_file(file)) == {
        "profile": "12e4567",
        "apply": False,
        "tables": ["2024_01_01", "x"],
        "workers": 3,
    }
    for text, says in (("- a", "mapping"), ("a: 1\na: 2", "twice"), ("a: &x 1\nb: *x", "alias"), ("a: [", "YAML")):
        file.write_text(text)
        with pytest.raises(UsageError, match=says):
            from_file(file)
    file.write_text("apply: 'false'")
    with pytest.raises(UsageError, match="expected bool, found the quoted text"):
        resolve(notebook, from_file(file))
    file.write_text("")
    assert from_file(file) == {}


@pytest.mark.parametrize(
    "source", ["x = open('f')", "import os", "x: Path = 'a'", "x: int = 'a'", "x, y = 1, 2", "x: int", "if"]
)
def test_a_cell_that_declares_no_parameters_is_refused(source: str) -> None:
    with pytest.raises(UsageError):
        declared_in(source, where="test")


def test_types_without_annotations_come_from_the_default() -> None:
    cell = "a = 1\nb = ['x']\nc = None\nd = []\ne = {'k': 1}"
    assert [str(p.type) for p in declared_in(cell, where="test")] == [
        "int",
        "list[str]",
        "any",
        "list[any]",
        "dict[str, any]",
    ]


@pytest.mark.parametrize(
    ("declared", "value", "found"),
    [
        ("Literal[1, 2]", Text("1"), 1),
        ("Literal[1, 2]", True, None),
        ("Literal[1, 2]", Text("true"), None),
        ("list[str] | None", Text("[a, null]"), ["a", "null"]),
        ("list[str] | None", ("a",), None),
        ("int | float", Text("3"), 3),
        ("int | float", True, None),
        ("float", float("inf"), None),
        ("dict[str, list[int]]", {"a": [1]}, {"a": [1]}),
        ("dict[str, list[int]]", {1: [1]}, None),
    ],
)
def test_a_value_is_exactly_of_the_declared_type(declared: str, value: object, found: object) -> None:
    default = {"Literal[1, 2]": "1", "int | float": "1", "float": "1.0", "dict[str, list[int]]": "{}"}.get(declared)
    (parameter,) = declared_in(f"x: {declared} = {default}", where="test")
    if found is None:
        with pytest.raises(UsageError, match="expected"):
            as_declared(value, parameter.type, "x")
    else:
        got = as_declared(value, parameter.type, "x")
        assert (got, type(got)) == (found, type(found))


@given(st.text())
def test_text_stays_text(text: str) -> None:
    assert as_declared(Text(text), TYPES["profile"], "p") == text


@given(
    st.sampled_from([name for name in TYPES if name != "note"]),
    st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.text())),
)
def test_a_value_is_of_its_type_or_refused(name: str, value: object) -> None:
    kinds = {
        "profile": str,
        "apply": bool,
        "tables": list,
        "workers": int,
        "ratio": float,
        "option": str,
        "limits": dict,
    }
    for given_value in (value, Text(str(value))):
        try:
            found = as_declared(given_value, TYPES[name], "p")
        except UsageError:
            continue
        assert type(found) is kinds[name]


@given(
    st.integers(min_value=-(10**30), max_value=10**30), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
def test_what_python_writes_is_read_back(whole: int, ratio: float, truth: bool) -> None:
    assert as_declared(Text(str(whole)), TYPES["workers"], "p") == whole
    assert as_declared(Text(repr(ratio)), TYPES["ratio"], "p") == ratio
    assert as_declared(Text(str(truth)), TYPES["apply"], "p") is truth
