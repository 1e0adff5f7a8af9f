"""Code and sequences stay behind with all that is known of them: their SQL, a draft that says it is one, what comes next.

Would catch: a draft that reads another table than the one that was loaded, one that pretends to be run, a password of a
function's text in the evidence, a sequence whose next value is one that is there already.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.assessment import code
from helpers.redaction import HIDDEN
from helpers.settings import Tables

SOURCE = (
    "CREATE SCHEMA crm",
    'CREATE TABLE crm."Person" (id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5) PRIMARY KEY, born date, name text)',
    "CREATE TABLE visit (id serial PRIMARY KEY, person int CHECK (person > 0 OR person IN (-1, -2)), at timestamptz)",
    "CREATE SEQUENCE lonely START 7",
    "CREATE SEQUENCE spent START 2 MAXVALUE 2",
    "SELECT nextval('spent')",
    "CREATE TABLE shared (id int DEFAULT nextval('lonely'))",
    "INSERT INTO crm.\"Person\" (name) VALUES ('a'), ('b')",
    'CREATE VIEW crm.adults AS SELECT p.id, p.name::varchar(5) AS short, count(*) AS visits FROM crm."Person" p JOIN visit v '
    "ON v.person = p.id WHERE p.born < '2000-01-01'::date GROUP BY p.id, p.name",
    "CREATE MATERIALIZED VIEW months AS WITH m AS (SELECT date_trunc('month', at) AS month FROM visit) SELECT * FROM m",
    "CREATE VIEW odd AS SELECT pg_size_pretty(sum(id)::bigint) AS s FROM visit",
    "CREATE FUNCTION visits(int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.visit WHERE person = $1'",
    "CREATE FUNCTION call_home() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE api_key text := 'abc-123-def'; "
    "BEGIN PERFORM 'host=x password=hunter22 user=y'; RETURN NEW; END $$",
    "CREATE TRIGGER home BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION call_home()",
    "CREATE PROCEDURE tidy() LANGUAGE sql BEGIN ATOMIC DELETE FROM public.visit; END",
)


def test_a_draft_reads_what_was_loaded_and_says_that_nobody_has_run_it(migration: Any, tmp_path: Path) -> None:
    migration.source(*SOURCE)
    listed = code.write(code.take(migration.settings), tmp_path)
    found = {str(each): each for each in listed.code}
    kinds = {name: each.kind for name, each in found.items()}
    assert kinds == {
        "crm.adults": "view", "public.odd": "view", "public.months": "materialized view",
        "public.visits(integer)": "function", "public.call_home()": "function", "public.tidy()": "procedure",
        "public.home on visit": "trigger", "public.visit_person_check on visit": "check constraint",
    }  # fmt: skip
    drafts = {(name, draft.target): draft for name, each in found.items() for draft in each.drafts}
    assert {name for (name, target), draft in drafts.items() if draft.sql and target == "snowflake"} == {
        "crm.adults", "public.months", "public.odd", "public.visits(integer)",
    }  # fmt: skip
    assert "pg_size_pretty" in drafts["public.odd", "snowflake"].why.lower()
    rule = drafts["public.visit_person_check on visit", "databricks"]
    assert (
        rule.sql.startswith(f"ALTER TABLE `{migration.settings.databricks.schema_}`.`visit` ADD CONSTRAINT")
        and "COALESCE" in rule.sql
        and "`person` IN (" in rule.sql
    )
    assert "no target has triggers" in drafts["public.home on visit", "databricks"].why
    assert "plpgsql" in drafts["public.call_home()", "snowflake"].why
    own = migration.settings.snowflake.schema_
    file = tmp_path / listed.files["crm.adults.view.sql"]["snowflake"]
    text = file.read_text()
    assert text.startswith("-- DRAFT for snowflake") and "Nobody has run it" in text
    assert f'"{own}"."Person"' in text and f'CREATE VIEW "{own}"."adults"' in text
    migration.migrate()
    migration.target(text.partition("anybody relies on it.\n")[2].rstrip().rstrip(";"))
    assert migration.target('SELECT COUNT(*) FROM "adults"') == [(0,)]
    assert (tmp_path / listed.files["crm.adults.view.sql"]["source"]).exists()


def test_a_draft_goes_where_the_patterns_put_its_tables_and_says_what_it_cannot_translate(migration: Any) -> None:
    migration.source(
        *SOURCE, "CREATE TYPE mood AS ENUM ('a')", "CREATE VIEW moods AS SELECT 'a'::mood AS m", "CREATE VIEW crm.odd AS SELECT 1 AS one",
    )  # fmt: skip
    described = Tables.model_validate(
        {"schema": "{schema}_new", "name": "{table}", "match": {"crm.*": {"schema": "public_new"}}}
    )
    values = migration.settings.values.model_copy(update={"tables": described})
    listed = code.take(replace(migration.settings, values=values))
    found = {str(each): each.drafts[0] for each in listed.code}
    assert '"public_new"."Person"' in found["crm.adults"].sql and '"public_new"."visit"' in found["crm.adults"].sql
    assert "crm.odd would have the same name there" in found["public.odd"].why
    assert "the type public.mood" in found["public.moods"].why.lower()


def test_secrets_of_the_code_are_in_no_file(migration: Any, tmp_path: Path) -> None:
    migration.source(*SOURCE)
    listed = code.write(code.take(migration.settings), tmp_path)
    written = "\n".join(path.read_text() for path in tmp_path.rglob("*.sql"))
    assert "hunter22" not in written and "abc-123-def" not in written
    assert f"password={HIDDEN} user=y" in written and f"api_key text := '{HIDDEN}'" in written
    assert "hunter22" not in str(listed.as_dict())


def test_the_next_value_of_each_sequence_is_told(migration: Any) -> None:
    migration.source(*SOURCE)
    expected = {
        "crm.Person_id_seq": (20, 5, "crm.Person.id"), "public.lonely": (7, 1, "public.shared.id"),
        "public.spent": (None, 1, ""), "public.visit_id_seq": (1, 1, "public.visit.id"),
    }  # fmt: skip
    listed = code.take(migration.settings)
    assert {str(s): (s.value, s.increment, s.column) for s in listed.sequences} == expected
    assert next(s.why for s in listed.sequences if s.name == "spent") == "it has no value left"
    assert migration.export().sequences == listed.sequences
