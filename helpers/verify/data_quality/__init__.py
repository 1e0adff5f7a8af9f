"""Does the target keep the rules that the source's data keeps, declared or observed?

Every rule is counted on both sides, so that one which the source itself breaks is told from one that the migration broke.
Rows that break a rule row by row are counted for all of a table's rules in one scan; keys and references take a query each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from helpers.best_effort import best_effort
from helpers.engines.answers import Answers
from helpers.engines.conditions import Condition, IsNull, Untranslatable, columns_of
from helpers.engines.held import Held, form_of
from helpers.engines.where import write
from helpers.model.catalog import Table
from helpers.progress import Progress
from helpers.verify.data_quality.rules.declared import declared
from helpers.verify.data_quality.rules.observed import observed
from helpers.verify.data_quality.rules.result import RuleResult, frame
from helpers.verify.data_quality.rules.rule import Breaks, NotChecked, NullShare, Reference, Rule, Unique

EXAMPLES = 3
PER_QUERY = 400
"""Counts of one query."""

KEYLESS_COLUMNS = 5
"""Columns that stand for the key of a table without one."""


def rules(cursor: Any, tables: Sequence[Table]) -> tuple[Rule, ...]:
    """What the source says of its data: its constraints, and what its rows have in common.

    Args:
        cursor: of psycopg2, in the snapshot that is verified; the tables are locked.
        tables: to read, as the catalog has them.
    """
    found = [*declared(cursor, tables), *observed(cursor, tables)]
    order = {str(table): n for n, table in enumerate(tables)}
    return tuple(sorted(found, key=lambda rule: (order[rule.table], not rule.declared)))


def check_rules(
    source: Answers,
    target: Answers,
    rules: Sequence[Rule],
    tables: Sequence[Table],
    *,
    progress: Progress | None = None,
) -> tuple[RuleResult, ...]:
    """Counts the rows that break each rule, on both sides.

    Args:
        source: in the snapshot in which `rules` were read.
        target: what is checked.
        rules: of those tables.
        tables: of the verification, with those that foreign keys refer to.

    Returns:
        A result for each rule, in the order of `rules`.

    Raises:
        MigrationError: a side could not be read; a broken rule is never an error but a result.
    """
    return _checked(_Check, source, target, rules, tables, progress)


def _checked(
    kind: type[_Check],
    source: Answers,
    target: Answers,
    rules: Sequence[Rule],
    tables: Sequence[Table],
    progress: Progress | None,
) -> tuple[RuleResult, ...]:
    results: dict[str, RuleResult] = {}
    named = {str(table): table for table in tables}
    for done, table in enumerate(tables):
        if progress:
            progress(done, len(tables), f"checking the rules of {table}")
        mine = [rule for rule in rules if rule.table == str(table)]
        for result in kind(source, target, table, named).results(mine):
            results[result.rule.id] = result
    return tuple(results[rule.id] for rule in rules)


def check_alone(
    source: Answers, rules: Sequence[Rule], tables: Sequence[Table], *, progress: Progress | None = None
) -> tuple[RuleResult, ...]:
    """Counts the rows of the source itself that break each rule: there is no other side that could excuse them.

    A constraint holds for what was written under it. Rows from before a NOT VALID one, or that came while triggers were off, as
    a replica or a restore writes them, break it all the same.

    Args:
        source: in the snapshot in which `rules` were read, with nothing left out of it.
        rules: of those tables.
        tables: with those that foreign keys refer to.

    Returns:
        A result for each rule, in the order of `rules`; a declared one that any row breaks fails.

    Raises:
        MigrationError: the source could not be read.
    """
    return _checked(_Alone, source, source, rules, tables, progress)


def kept(results: Iterable[RuleResult]) -> bool:
    """Whether nothing fails: a broken expectation does not, nor does a rule that could not be checked."""
    return all(result.verdict != "fail" for result in results)


class _Check:
    """The rules of one table."""

    alone = False

    def __init__(self, source: Answers, target: Answers, table: Table, tables: Mapping[str, Table]) -> None:
        self._source, self._target, self._table, self._tables = source, target, table, tables
        self._held = target.columns(table)
        self._source_held = source.columns(table) or {}

    def results(self, rules: Sequence[Rule]) -> Iterator[RuleResult]:
        checkable = []
        for rule in rules:
            if isinstance(rule.test, NotChecked):
                yield RuleResult(rule, "not checked", f"not checked: {rule.test.why}")
            elif lacking := self._lacking(rule):
                yield RuleResult(rule, "fail", lacking)
            elif hidden := self._hidden(rule):
                yield RuleResult(rule, "not checked", f"not checked: {hidden}")
            else:
                checkable.append(rule)
        by_row = [rule for rule in checkable if isinstance(rule.test, Breaks | NullShare)]
        for start in range(0, len(by_row), PER_QUERY):
            yield from self._by_row(by_row[start : start + PER_QUERY])
        for rule in checkable:
            if isinstance(rule.test, Unique):
                yield self._unique(rule, rule.test)
            elif isinstance(rule.test, Reference):
                yield self._reference(rule, rule.test)

    def _lacking(self, rule: Rule) -> str:
        """What the target lacks to keep the rule at all, empty where it lacks nothing."""
        if self._held is None:
            return "the target has no such table"
        for name in _looked_at(rule):
            if name not in self._held:
                return f"the target has no column {name}"
            if not self._held[name].as_wanted and _compares(rule):
                return f"{name} is {self._held[name].type} in the target"
        return self._lacking_there(rule.test) if isinstance(rule.test, Reference) else ""

    def _lacking_there(self, test: Reference) -> str:
        """What the target lacks of the table that a rule refers to."""
        if test.table not in self._tables:
            return ""
        held = self._target.columns(self._tables[test.table])
        if held is None:
            return f"the target has no table {test.table}"
        for name in test.columns:
            if name not in held:
                return f"the target has no column {name} of {test.table}"
            if not held[name].as_wanted:
                return f"{name} of {test.table} is {held[name].type} in the target"
        return ""

    def _hidden(self, rule: Rule) -> str:
        """Why the target's form of the columns does not show whether the rule is kept, empty where it does."""
        assert self._held is not None
        if _compares(rule):
            types = {column.name: column.type for column in self._table.columns}
            for name in _looked_at(rule):
                if self._held[name].wanted != form_of(types[name]) and not self._same_text(rule, types[name].name):
                    return f"{name} travels as {self._held[name].wanted}"
        try:
            for condition in _conditions(rule):
                write(condition, self._held, self._target.sql)
        except Untranslatable as why:
            return f"{self._target.name} has no {why}"
        return self._unreachable(rule, rule.test) if isinstance(rule.test, Reference) else ""

    def _unreachable(self, rule: Rule, test: Reference) -> str:
        """Why the rows that a rule refers to cannot be compared, empty where they can."""
        assert self._held is not None
        if test.table not in self._tables:
            return f"{test.table} is not part of this verification"
        held = self._target.columns(self._tables[test.table]) or {}
        for mine, theirs in zip(rule.columns, test.columns, strict=True):
            if self._held[mine].form != held[theirs].form:
                return f"{mine} and {theirs} of {test.table} travel in two forms"
        return ""

    def _same_text(self, rule: Rule, type_name: str) -> bool:
        """Whether equal values of the type always print alike, so that their texts may be compared in their place."""
        return isinstance(rule.test, Reference) and type_name in _PRINTED_ALIKE

    def _by_row(self, rules: Sequence[Rule]) -> Iterator[RuleResult]:
        """One scan of each side for all of them."""
        assert self._held is not None
        started = time.monotonic()
        broken = [_broken(rule, self._held, self._target) for rule in rules]
        rows, *counts = self._counted(self._target, broken)
        originals = [_original(rule) for rule in rules]
        mine = [_broken(rule, self._source_held, self._source) for rule in rules]
        misread = [self._misread(rule, original) for rule, original in zip(rules, originals, strict=True)]
        asked = [original or sql for original, sql in zip(originals, mine, strict=True)]
        _, *found = self._counted(self._source, [*asked, *misread])
        seconds = time.monotonic() - started
        for n, rule in enumerate(rules):
            if isinstance(rule.test, NullShare):
                off = _distance(rule.test, counts[n], rows)
                result = _judged(rule, off, 0)
                yield replace(result, why=f"NULL in {counts[n]:,} of {rows:,} rows" if off else "", seconds=seconds)
            elif found[len(rules) + n] and not self.alone:
                many = f"{found[len(rules) + n]:,} of the source's rows"
                why = f"not checked: its translation says something else of {many}"
                yield RuleResult(rule, "not checked", why, seconds=seconds)
            else:
                result = self._judge_row_rule(rule, counts[n], found[n])
                shown = self._examples(broken[n], rule) if result.verdict in ("warn", "fail") else ()
                yield replace(result, examples=shown, seconds=seconds)

    def _judge_row_rule(self, rule: Rule, there: int, here: int) -> RuleResult:
        return _judged(rule, there, here)

    def _before(self, counted: int) -> int:
        """How many of the rows that break a rule the source may be blamed for."""
        return counted

    def _misread(self, rule: Rule, original: str | None) -> str:
        """What is true of a row of the source for which a constraint and its translation differ."""
        if original is None:
            return "FALSE"
        translated = write(_condition(rule), self._source_held, self._source.sql)
        return f"({original}) IS DISTINCT FROM ({translated})"

    def _counted(self, engine: Answers, conditions: Sequence[str]) -> list[int]:
        """How many rows the table has, then for how many each condition is true."""
        counts = ", ".join(f"COUNT(CASE WHEN {condition} THEN 1 END) AS N{n}" for n, condition in enumerate(conditions))
        sql = f"SELECT COUNT(*) AS ALL_ROWS, {counts} FROM {engine.relation(self._table)}"
        ((rows, *found),) = engine.rows(sql, doing=f"check the rules of {self._table}")
        return [int(rows), *(int(count) for count in found)]

    def _unique(self, rule: Rule, test: Unique) -> RuleResult:
        """An index keeps the source's rows unique, so they are only counted where the target's are not."""
        assert self._held is not None
        started = time.monotonic()
        count = self._repeated(self._target, self._held, rule, test)
        before = self._before(self._repeated(self._source, self._source_held, rule, test)) if count else None
        result = _judged(rule, count, before or 0)
        shown: tuple[dict[str, str | None], ...] = ()
        if result.verdict == "fail":
            columns = [self._held[name] for name in rule.columns]
            texts = ", ".join(f"{self._target.sql.shown(column.sql)} AS E{n}" for n, column in enumerate(columns))
            sql = f"SELECT {texts} {_groups(self._target, self._table, self._held, rule, test)} ORDER BY 1 LIMIT {EXAMPLES}"
            shown = self._named(rule.columns, sql)
        return replace(result, violations_source=before, examples=shown, seconds=time.monotonic() - started)

    def _repeated(self, engine: Answers, held: Mapping[str, Held], rule: Rule, test: Unique) -> int:
        groups = _groups(engine, self._table, held, rule, test)
        sql = f"SELECT COALESCE(SUM(n - 1), 0) AS N FROM (SELECT COUNT(*) AS n {groups}) AS repeated"
        ((count,),) = engine.rows(sql, doing=f"check that {rule.words}")
        return int(count)

    def _reference(self, rule: Rule, test: Reference) -> RuleResult:
        assert self._held is not None
        started = time.monotonic()
        counted = self._lost(self._target, self._held, rule, test)
        before = self._before(sum(count for _, count in self._lost(self._source, self._source_held, rule, test)))
        result = _judged(rule, sum(count for _, count in counted), before)
        shown: tuple[dict[str, str | None], ...] = ()
        if result.verdict == "fail":
            shown = self._examples(next(condition for condition, count in counted if count), rule)
        return replace(result, examples=shown, seconds=time.monotonic() - started)

    def _lost(self, engine: Answers, held: Mapping[str, Held], rule: Rule, test: Reference) -> list[tuple[str, int]]:
        """Conditions on a row of `child` that refers to nothing, and how many rows there are of each."""
        other = self._tables[test.table]
        theirs = engine.columns(other) or {}
        present = [f"{held[name].sql} IS NOT NULL" for name in rule.columns]
        same = " AND ".join(
            f"parent.{theirs[there].sql} = child.{held[here].sql}"
            for here, there in zip(rule.columns, test.columns, strict=True)
        )
        orphan = f"NOT EXISTS (SELECT 1 FROM (SELECT * FROM {engine.relation(other)}) AS parent WHERE {same})"
        conditions = [" AND ".join([*present, *_kept(rule.columns, held), orphan])]
        if test.full and len(present) > 1:
            # Apart from the others: Snowflake evaluates no correlated subquery under OR.
            conditions.append(f"({' OR '.join(present)}) AND NOT ({' AND '.join(present)})")
        counted = []
        for condition in conditions:
            sql = f"SELECT COUNT(*) AS N FROM (SELECT * FROM {engine.relation(self._table)}) AS child WHERE {condition}"
            ((count,),) = engine.rows(sql, doing=f"check that {rule.words}")
            counted.append((condition, int(count)))
        return counted

    def _examples(self, condition: str, rule: Rule) -> tuple[dict[str, str | None], ...]:
        assert self._held is not None
        key = [name for name in self._table.key or list(self._held)[:KEYLESS_COLUMNS] if name in self._held]
        names = list(dict.fromkeys([*key, *rule.columns]))
        texts = ", ".join(
            f"{self._target.sql.shown(f'child.{self._held[name].sql}')} AS E{n}" for n, name in enumerate(names)
        )
        order = ", ".join(str(n + 1) for n in range(len(names)))
        sql = f"SELECT {texts} FROM (SELECT * FROM {self._target.relation(self._table)}) AS child WHERE {condition} ORDER BY {order} LIMIT {EXAMPLES}"
        return self._named(names, sql)

    def _named(self, names: Sequence[str], sql: str) -> tuple[dict[str, str | None], ...]:
        rows: Sequence[tuple[Any, ...]] = ()
        with best_effort(f"no examples of {self._table} can be shown"):
            rows = self._target.rows(sql, doing=f"find examples in {self._table}")
        return tuple(dict(zip(names, row, strict=True)) for row in rows)


class _Alone(_Check):
    """The rules of one table where source and target are one: whatever breaks them is its own."""

    alone = True

    def _judge_row_rule(self, rule: Rule, there: int, here: int) -> RuleResult:
        return _judged(rule, here, 0)  # by PostgreSQL's own expression, where the rule has one

    def _before(self, counted: int) -> int:
        return 0


_PRINTED_ALIKE = frozenset({"uuid", "name", "char", "macaddr", "macaddr8", "pg_lsn"})


def _conditions(rule: Rule) -> list[Condition]:
    match rule.test:
        case Breaks(condition, _):
            return [condition]
        case Unique(_, only) if only:
            return [only]
        case _:
            return []


def _looked_at(rule: Rule) -> tuple[str, ...]:
    """Every column that a test of the rule reads."""
    found = [name for condition in _conditions(rule) for name in columns_of(condition)]
    return tuple(dict.fromkeys(found if isinstance(rule.test, Breaks) else [*rule.columns, *found]))


def _compares(rule: Rule) -> bool:
    """Whether the test depends on what the values are, and not only on where there are some."""
    match rule.test:
        case Breaks(IsNull(), _) | NullShare() | NotChecked() | Unique(_, None):
            return False
        case _:
            return True


def _broken(rule: Rule, held: Mapping[str, Held], engine: Answers) -> str:
    """What is true of a row that breaks the rule; a value that a policy replaced breaks none."""
    condition: Condition = IsNull(rule.columns[0]) if isinstance(rule.test, NullShare) else _condition(rule)
    return " AND ".join([f"({write(condition, held, engine.sql)})", *_kept(columns_of(condition), held)])


def _condition(rule: Rule) -> Condition:
    assert isinstance(rule.test, Breaks)
    return rule.test.condition


def _original(rule: Rule) -> str | None:
    """What PostgreSQL itself says of a row that breaks the rule."""
    original = rule.test.original if isinstance(rule.test, Breaks) else None
    return f"NOT ({original})" if original else None


def _kept(names: Iterable[str], held: Mapping[str, Held]) -> list[str]:
    return [kept for name in names if (kept := held[name].kept)]


def _groups(engine: Answers, table: Table, held: Mapping[str, Held], rule: Rule, test: Unique) -> str:
    """FROM to HAVING: the groups of rows that a key should tell apart."""
    columns = [held[name] for name in rule.columns]
    conditions = [] if test.nulls_equal else [f"{column.sql} IS NOT NULL" for column in columns]
    conditions += _kept(rule.columns, held)
    if test.only is not None:
        conditions.append(f"({write(test.only, held, engine.sql)})")
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"FROM {engine.relation(table)} {where}GROUP BY {', '.join(c.sql for c in columns)} HAVING COUNT(*) > 1"


def _distance(share: NullShare, nulls: int, rows: int) -> int:
    """By how many rows a share of NULL is off; a row more or less in the table alone does not count as one."""
    low, high = share.nulls * rows // share.rows, -(-share.nulls * rows // share.rows)
    return max(low - nulls, nulls - high, 0)


def _judged(rule: Rule, violations: int, before: int) -> RuleResult:
    if violations == 0:
        return RuleResult(rule, "pass", violations=0, violations_source=before)
    if violations <= before:
        return RuleResult(rule, "pass", "the source breaks it itself", violations, before)
    more = f"the source breaks it itself in {before:,} rows, the target in more" if before else ""
    return RuleResult(rule, "fail" if rule.declared else "warn", more, violations, before)


__all__ = ["Rule", "RuleResult", "check_alone", "check_rules", "frame", "kept", "rules"]
