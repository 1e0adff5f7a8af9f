"""A verification says why values differ, in the report that a command prints.

Would catch: diagnoses that are found and not handed on, that are made of the wrong rows, or that blame a correct column.
"""

from __future__ import annotations

from typing import Any


def test_a_spoiled_load_is_explained(migration: Any) -> None:
    migration.source(
        "CREATE TABLE sales (id int PRIMARY KEY, at timestamp, note text, price numeric(12,2), same text, due boolean)",
        "INSERT INTO sales SELECT n, timestamp '2024-01-01' + n * interval '61 min', '  ' || md5(n::text), n * 1.07, 'x', n % 3 = 0 "
        "FROM generate_series(1, 400) n",
    )
    migration.migrate()
    assert migration.verify().verdict == "equal"
    migration.target(
        """UPDATE "sales" SET "at" = DATEADD('hour', 2, "at"), "note" = LTRIM("note"), "price" = "price" * 100 """
        """WHERE "id" > 100""",
        'UPDATE "sales" SET "due" = NOT "due"',
    )
    (table,) = migration.verify().as_dict()["tables"]
    assert (table["verdict"], table["changed"], table["missing"], table["extra"]) == ("different", 400, 0, 0)
    found = {name: column["diagnoses"] for name, column in table["columns"].items() if column["changed"]}
    assert {name: (d[0]["pairs"], d[0]["of"]) for name, d in found.items()} == {
        "at": (300, 300), "note": (300, 300), "price": (300, 300), "due": (400, 400),
    }  # fmt: skip
    for diagnoses in found.values():
        assert {tuple(example["key"]) for example in diagnoses[0]["examples"]} == {("id",)}
    words = {name: table["columns"][name]["diagnosis"] for name in found}
    assert "2 hours" in words["at"]
    assert "trim" in words["note"].lower() or "blank" in words["note"].lower() or "space" in words["note"].lower()
    assert "100" in words["price"]
    assert table["columns"]["same"] == {"changed": 0, "diagnosis": None, "diagnoses": []}
