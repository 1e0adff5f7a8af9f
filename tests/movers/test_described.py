"""What the profile says of tables decides what moves, and stands in the manifest and in the verdict.

Would catch: an excluded table that is read all the same, a glob with a slip in it that means nothing, a reason that is in no
list, a profile that was changed behind an export and verifies it all the same.
"""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import archive as archiving
from helpers import doctor
from helpers import export as exporting
from helpers.assessment import security
from helpers.errors import SettingsError, UsageError
from helpers.model import masks
from helpers.model.catalog import Column, PgType, Table, condition
from helpers.settings import Compliance, Resolved, Tables
from helpers.source import survey
from helpers.source.readers import Range
from helpers.source.relations import Choice, Relation
from helpers.verify import Options

SOURCE = (
    "CREATE SCHEMA crm",
    "CREATE TABLE sales (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE sales_2026 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "INSERT INTO sales VALUES (1, '2026-01-01')",
    "CREATE TABLE crm.person (id int PRIMARY KEY, email text, hash text, left_on date)",
    "CREATE TABLE crm.import_1 (id int)",
    "CREATE VIEW crm.people AS SELECT id FROM crm.person",
)


def _describe(migration: Any, **described: Any) -> None:
    values = migration.settings.values.model_copy(update={"tables": Tables.model_validate(described)})
    migration.settings = replace(migration.settings, values=values)


def _moved(manifest: Any) -> list[str]:
    return [str(table) for table in manifest.tables]


def test_what_the_profile_excludes_is_left_with_its_reason_and_nothing_is_asked_of_it(migration: Any) -> None:
    migration.source(*SOURCE)
    _describe(migration, include=["public.*", "crm.*"], exclude={"crm.import_*": "scratch tables"})
    with migration.superuser() as cursor:
        cursor.execute("ALTER TABLE crm.import_1 OWNER TO postgres")  # which the role may then not read
    assert [str(census.table) for census in survey.census(migration.settings).tables] == ["crm.person", "public.sales"]
    manifest = migration.migrate()
    assert _moved(manifest) == ["crm.person", "public.sales"]
    assert manifest.left_out["crm.import_1"] == "excluded by tables.exclude crm.import_*: scratch tables"
    assert manifest.complete
    for options in ({}, {"source_name": "manifest"}):
        report = migration.verify(**options)
        assert (report.verdict, report.left_out["crm.import_1"]) == ("equal", manifest.left_out["crm.import_1"])
    # A command's globs narrow it further, and bring nothing back.
    with exporting.planned(migration.settings, exclude=("person",)) as plan:
        assert [str(table) for table in plan.state.tables] == ["public.sales"]
    with pytest.raises(UsageError, match="scratch tables"), exporting.planned(migration.settings, tables=("import_1",)):
        pass


def test_a_profile_that_was_changed_behind_an_export_verifies_nothing(migration: Any) -> None:
    migration.source(*SOURCE)
    _describe(migration, exclude=["import_1"])
    migration.migrate()
    _describe(migration, include=["crm.*"])
    with pytest.raises(UsageError) as refused:
        migration.verify()
    assert "public.sales was exported, and now it is not chosen: tables.include names others" in str(refused.value)
    assert "crm.import_1 was excluded by tables.exclude import_1: named in tables.exclude, and now it moves" in str(
        refused.value
    )


NOTHING: list[tuple[dict[str, Any], str]] = [
    ({"include": ["crm.persn", "public.*"]}, "did you mean crm.person"),
    ({"exclude": ["sales_2*"]}, "a partition of public.sales, which moves or stays as a whole"),
    ({"include": ["crm.people"]}, "crm.people is a view"),
    ({"exclude": ["nothing.*"]}, "name one of crm.import_1, crm.person, public.sales"),
]


def test_a_glob_that_means_nothing_is_refused_with_what_is_called_so(migration: Any) -> None:
    migration.source(*SOURCE)
    in_public = migration.settings.source.model_copy(update={"schemas": ("public",)})
    cases = [*NOTHING, ({"include": ["crm.person"]}, "lies in the schema crm, which `source.schemas` does not name")]
    for described, said in cases:
        if said.startswith("lies"):
            migration.settings = migration.settings.with_source(in_public)
        _describe(migration, **described)
        with pytest.raises(SettingsError, match=r"tables\.(include|exclude)") as refused:
            migration.export()
        assert said in str(refused.value)
    assert migration.bucket.sizes() == {}


NAMES = st.sampled_from(["a", "b", "ab", "import_1"])
GLOBS = st.lists(st.sampled_from(["*", "a", "s.*", "t.a", "*.b", "import_*", "t.import_?"]), max_size=3, unique=True)


@given(st.sampled_from(["s", "t"]), NAMES, GLOBS, GLOBS, GLOBS, GLOBS)
def test_a_table_moves_if_every_list_lets_it(
    schema: str, name: str, include: list[str], exclude: list[str], stay: list[str], tables: list[str]
) -> None:
    relation = Relation(1, schema, name, "r", 0, False, "", False, True, True, False, True)
    described = Tables.model_construct(
        include=tuple(include), exclude=dict.fromkeys(exclude, "x"), stay=dict.fromkeys(stay, "y"), match={}
    )
    moves = not Choice(tables=tables, described=described).why_not(relation)
    assert moves == (
        (not include or relation.matches(include))
        and not relation.matches(exclude)
        and not relation.matches(stay)
        and (not tables or relation.matches(tables))
    )


PARTLY = (
    "CREATE SCHEMA crm",
    "CREATE TYPE crm.mood AS ENUM ('good', 'bad', 'unknown')",
    "CREATE TABLE crm.person (id int PRIMARY KEY, email text NOT NULL UNIQUE CHECK (email LIKE '%@%'), phone varchar(20) NOT NULL, "
    "street text, mood crm.mood, born date, hash text UNIQUE, height numeric, left_on date)",
    "INSERT INTO crm.person SELECT n, 'p' || n || '@example.com', '0' || n, CASE WHEN n % 3 = 0 THEN NULL ELSE 'Way {' || n || '}' END, "
    "'good', '1990-01-01'::date + n, md5(n::text), CASE WHEN n = 2 THEN 'NaN'::numeric ELSE n END, "
    "CASE WHEN n > 40 THEN '2026-01-01'::date END FROM generate_series(1, 60) n",
    "CREATE TABLE crm.visit (person int REFERENCES crm.person, day date, secret text)",
    "INSERT INTO crm.visit SELECT n, '2026-01-01'::date + n, 's' || n FROM generate_series(1, 60) n",
    "CREATE FUNCTION crm.has_visits(int) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM crm.visit WHERE person = $1)'",
    """CREATE FUNCTION crm."Odd (one)"(int) RETURNS boolean VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN $1 > 1; END'""",
    "CREATE FUNCTION crm.now(date) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'",
)
MATCH = {
    "crm.person": {
        "where": "left_on IS NULL AND mood = 'good' AND crm.now(born) AND lower(phone) <> 'random()' -- who is still there",
        "omit": ["hash"],
        "mask": {
            "email": "sha256", "phone": "null", "street": {"constant": "Way {0}"}, "mood": {"constant": "unknown"},
            "height": {"constant": "1.5"},
        },
        "reason": "nobody's business",
    },
    "crm.*": {"omit": ["secret"], "reason": "not needed"},
}  # fmt: skip


def test_what_is_omitted_filtered_or_masked_moves_so_and_is_proved_so_on_every_target(migration: Any) -> None:
    migration.source(*PARTLY)
    _describe(migration, match=MATCH, mask_salt=Resolved("pepper-and-salt"))
    manifest = migration.migrate()
    person = manifest.table("crm", "person")
    assert (person.rows, person.omitted, person.key) == (40, ("hash",), ("id",))
    assert [column.name for column in person.columns] == [
        "id", "email", "phone", "street", "mood", "born", "height", "left_on",
    ]  # fmt: skip
    assert "pepper" not in manifest.model_dump_json()
    left = {
        "crm.person.hash": "a column that the profile omits: nobody's business",
        "crm.visit.secret": "a column that the profile omits: not needed",
        "the other rows of crm.person": f"40 of 60 match {MATCH['crm.person']['where']}, and move: nobody's business",
        "the values of crm.person.phone": "each is replaced by NULL: nobody's business",
    }
    assert manifest.left_out.items() >= left.items()
    assert migration.target('SELECT "email", "phone", "street", "mood", "height" FROM "person" WHERE "id" = 1') == [
        (sha256(b"pepper-and-saltp1@example.com").hexdigest(), None, "Way {0}", "unknown", Decimal("1.5"))
    ]
    assert migration.target('SELECT COUNT("street"), COUNT(*), COUNT(DISTINCT "email") FROM "person"') == [(27, 40, 40)]
    for options in ({}, {"source_name": "manifest"}, {"target": "stage"}, {"options": Options(witness=True)}):
        report = migration.verify(**options)
        assert report.verdict == "equal", (options, [(str(t), t.method) for t in report.tables])
        assert report.left_out.items() >= left.items()
        said = {str(table): table.method for table in report.tables}["crm.person"]
        assert "only rows that match left_on IS NULL" in said
        assert "without hash; email replaced by SHA-256 of its text behind a salt" in said
    for check in ("row-counts", "schema", "data-quality"):
        assert migration.verify(check=check).verdict == "equal", check
    migration.source("UPDATE crm.person SET email = 'other@example.com', phone = 'x', hash = 'y' WHERE id = 7")
    found = {str(table): table for table in migration.verify().tables}
    # Behind the masks only one of the three shows, and it shows as the masks made it.
    assert found["crm.person"].changed_since == 1
    assert found["crm.visit"].verdict == "equal"
    migration.target('UPDATE "person" SET "phone" = \'0123\' WHERE "id" = 8')
    (cell,) = (cell for cell in next(t for t in migration.verify().tables if t.name == "person").cells)
    assert (cell.key, cell.column, cell.source, cell.target) == ({"id": "8"}, "phone", None, "0123")


def test_another_salt_or_condition_than_the_export_s_is_refused(migration: Any) -> None:
    migration.source(*PARTLY)
    _describe(migration, match=MATCH, mask_salt=Resolved("pepper-and-salt"))
    migration.migrate()
    _describe(migration, match=MATCH, mask_salt=Resolved("another salt"))
    with pytest.raises(UsageError, match=r"crm\.person was exported with mask"):
        migration.verify()
    _describe(migration, match={"crm.*": MATCH["crm.*"]})
    with pytest.raises(UsageError, match=r"exported with where .* and now it is unset"):
        migration.verify()


NOT_UNDERSTOOD: list[tuple[dict[str, Any], str]] = [
    ({"where": "left_on IS NUL"}, "syntax error"),
    ({"where": "1"}, "must be type boolean"),
    ({"where": "left_on > now() - interval '1 year'"}, r"\(now\): write the value instead"),
    ({"where": "left_on > 'today'"}, "depends on when"),
    ({"where": "random() < 0.5"}, r"\(random\)"),
    ({"where": '"random"() < 0.5'}, r"\(random\)"),
    ({"where": 'U&"\\0072andom"() < 0.5'}, r"\(random\)"),
    ({"where": 'left_on > "now"()'}, r"\(now\)"),
    ({"where": "crm.has_visits(id)"}, r"\(has_visits\)"),
    ({"where": 'crm."Odd (one)"(id)'}, r"\(Odd \(one\)\)"),
    ({"where": "id IN (SELECT person FROM crm.visit)"}, "reads other rows"),
    ({"where": "id = 1) OR (id = 2"}, "more than one condition"),
    ({"where": "true; DROP TABLE crm.person"}, "more than one condition"),
    ({"omit": ["hsh"]}, "did you mean hash"),
    ({"mask": {"born": {"constant": "soon"}}}, "invalid input syntax for type date"),
    ({"mask": {"phone": {"constant": "0" * 21}}}, "does not fit"),
    ({"omit": ["id", "email", "phone", "street", "mood", "born", "hash", "height", "left_on"]}, "no column left"),
]


def test_a_description_that_the_source_does_not_understand_is_refused_before_anything_is_counted(
    migration: Any,
) -> None:
    migration.source(*PARTLY)
    for match, said in NOT_UNDERSTOOD:
        _describe(migration, match={"crm.person": {**match, "reason": "x"}})
        with pytest.raises(SettingsError, match=said):
            migration.export()
        with pytest.raises(SettingsError, match=said):
            survey.census(migration.settings)
    assert migration.bucket.sizes() == {}


def test_a_table_whose_key_is_omitted_or_masked_is_told_apart_by_another_or_compared_as_a_multiset(
    migration: Any,
) -> None:
    migration.source(
        *PARTLY,
        "CREATE TABLE crm.card (nr text PRIMARY KEY, person int NOT NULL UNIQUE, twice text GENERATED ALWAYS AS (nr || nr) STORED)",
        "INSERT INTO crm.card SELECT n, n FROM generate_series(1, 5) n",
        "CREATE TABLE crm.log (who text PRIMARY KEY, n int)",
        "INSERT INTO crm.log SELECT n, 1 FROM generate_series(1, 5) n",
    )
    card: dict[str, Any] = {"omit": ["nr"], "reason": "x"}
    _describe(migration, match={"crm.card": card})
    with pytest.raises(SettingsError, match=r"crm\.card\.twice is computed from nr"):
        migration.export()
    card["omit"] = ["nr", "twice"]
    height = {"mask": {"height": "null"}, "reason": "NaN"}
    _describe(
        migration, match={"crm.card": card, "crm.person": height, "crm.log": {"mask": {"who": "null"}, "reason": "x"}}
    )
    manifest = migration.migrate()
    assert (manifest.table("crm", "card").key, manifest.table("crm", "log").key) == (("person",), ())
    assert migration.verify().verdict == "equal"


def test_an_archive_holds_every_table_whole_and_refuses_while_some_stay(migration: Any, tmp_path: Path) -> None:
    migration.source(*PARTLY)
    _describe(migration, exclude=["crm.visit"], match={"crm.person": MATCH["crm.person"]}, mask_salt=Resolved("pepper"))
    plan = archiving.plan_archive(migration.settings, tmp_path)
    assert [each.table for each in plan.tables] == ["crm.person", "crm.visit"]
    assert not plan.settings.tables.match
    _describe(migration, stay=["crm.person"])
    with pytest.raises(UsageError, match="option B archives nothing"):
        archiving.plan_archive(migration.settings, tmp_path)


def test_personal_data_that_are_masked_omitted_or_left_ask_for_no_permission() -> None:
    names = ("crm.person.email", "crm.person.hash", "crm.person.born", "hr.staff.email", "crm.desk.phone")
    seen = security.Security(*([None] * len(fields(security.Security))))  # type: ignore[arg-type]
    seen = replace(seen, personal=names, tls_used=True)
    tables = Tables.model_validate(
        {"include": ["crm.*"], "stay": ["crm.desk"], "match": {"crm.person": MATCH["crm.person"]}}
    )
    asked = Compliance(personal=())
    found = list(security._look_at_personal_data(seen, asked, tables))
    assert [(each.severity, each.on) for each in found] == [
        ("note", "crm.person.email, crm.person.hash, hr.staff.email, crm.desk.phone"), ("stop", "crm.person.born"),
    ]  # fmt: skip


def test_the_doctor_tells_a_description_that_the_source_does_not_understand(migration: Any) -> None:
    migration.source(*PARTLY)
    _describe(migration, match=MATCH, mask_salt=Resolved("pepper"))
    (found,) = (each for each in doctor.examine(migration.settings, ["source"]) if each.finding.on == "tables")
    assert (found.verdict, "crm.visit (without secret)" in found.finding.what) == ("ok", True)
    _describe(migration, match={"crm.person": {"where": "left_on IS NUL", "reason": "x"}})
    (found,) = (each for each in doctor.examine(migration.settings, ["source"]) if each.finding.on == "tables")
    assert (found.verdict, "syntax error" in found.finding.what) == ("wrong", True)


def test_what_one_entry_hides_does_not_move_because_of_another() -> None:
    table = Table(
        "crm", "person", 1, (Column("id", PgType("int4", "integer")), Column("email", PgType("text", "text"))), (), ()
    )
    hides = {"mask": {"email": "null"}, "reason": "x"}
    with pytest.raises(SettingsError, match=r'crm\.person\.email, and tables\.match\."person" counts') as refused:
        masks.described(
            table, Tables.model_validate({"match": {"*": hides, "person": {"where": "id > 1", "reason": "x"}}})
        )
    assert 'tables.match."*".mask' in str(refused.value.on)
    own = {"where": "id > 1", **hides}
    found = masks.described(table, Tables.model_validate({"match": {"*": hides, "person": own}}))
    assert (found.where, list(found.masked)) == ("id > 1", ["email"])
    assert masks.hides(table, Tables.model_validate({"match": {"*": own}}))
    assert not masks.hides(table, Tables.model_validate({"match": {"*": {"where": "id > 1", "reason": "x"}}}))
    assert masks.described(table, Tables.model_validate({"match": {"*": {"omit": ["id"], "reason": "x"}}})).omitted == (
        "id",
    )


def test_a_part_of_a_table_is_read_under_its_pages_and_its_condition() -> None:
    part = Range("ONLY t", 3, 8, 5, condition("a OR b -- why"))
    assert part.rows("c") == "ONLY t WHERE ctid >= '(3,0)' AND ctid < '(8,0)' AND (a OR b -- why\n) AND c"
    assert Range("ONLY t", where=condition("")).rows() == "ONLY t"
