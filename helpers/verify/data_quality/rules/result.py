"""Whether a target keeps one rule, as programs and people read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from helpers.verify.data_quality.rules.rule import Rule

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["pass", "warn", "fail", "not checked"]


@dataclass(frozen=True)
class RuleResult:
    """Whether the target keeps one rule.

    Attributes:
        verdict: a declared rule that is broken fails, an observed one warns.
        why: what the verdict rests on, where it is not the count alone.
        violations: rows of the target that break the rule: of a key the rows too many, of a share the distance to it.
        violations_source: the same in the source; None where it was not counted.
        examples: up to three keys of such rows in the target, by the target's names; without a key, some of their values.
        seconds: of the queries that counted, which other rules of the table share.
    """

    rule: Rule
    verdict: Verdict
    why: str = ""
    violations: int | None = None
    violations_source: int | None = None
    examples: tuple[dict[str, str | None], ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        rule = self.rule
        return {
            "rule": rule.id,
            "words": rule.words,
            "kind": rule.kind,
            "origin": "declared" if rule.declared else "observed",
            "table": rule.table,
            "columns": list(rule.columns),
            "verdict": self.verdict,
            "why": self.why,
            "violations": self.violations,
            "violations_source": self.violations_source,
            "examples": [dict(example) for example in self.examples],
            "seconds": round(self.seconds, 3),
        }


def frame(results: Iterable[RuleResult]) -> pd.DataFrame:
    """A row a rule, the broken ones first, for a notebook."""
    import pandas as pd

    order = ("fail", "warn", "not checked", "pass")
    rows = [
        {
            "table": result.rule.table,
            "rule": result.rule.words,
            "origin": "declared" if result.rule.declared else "observed",
            "verdict": result.verdict,
            "violations": result.violations,
            "in the source": result.violations_source,
            "why": result.why,
            "examples": "; ".join(", ".join(f"{k}={v}" for k, v in example.items()) for example in result.examples),
        }
        for result in sorted(results, key=lambda result: order.index(result.verdict))
    ]
    columns = ["table", "rule", "origin", "verdict", "violations", "in the source", "why", "examples"]
    return pd.DataFrame(rows, columns=columns).astype({"violations": "Int64", "in the source": "Int64"})
