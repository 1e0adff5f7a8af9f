"""What a step would change: shown and recorded in a rehearsal, and what an approval is bound to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.frames import frame
from helpers.ledger.ledger import digest
from helpers.settings import Settings


@dataclass(frozen=True)
class StepPlan:
    """The plan of one step.

    Attributes:
        step: its id.
        what: what would change, and where, in a sentence.
        objects: a row for each object that would be made, changed, replaced or dropped, indexed by its name.
        totals: rows, bytes and what else is counted.
        cost: an estimate, or why there is none.
    """

    step: str
    what: str
    objects: pd.DataFrame
    totals: Mapping[str, int]
    cost: str

    def result(self) -> dict[str, Any]:
        """For the ledger and for approvals; the digest is of every object, so that a plan that changed is seen to have changed."""
        objects = self.objects.reset_index().to_dict("records")
        return {
            "what": self.what, **self.totals, "objects": len(objects), "cost": self.cost,
            "plan_sha256": digest([[str(value) for value in row.values()] for row in objects]),
        }  # fmt: skip

    def __str__(self) -> str:
        totals = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in self.totals.items())
        return f"PLAN {self.step}: {self.what}\n  {totals}\n  cost: {self.cost}"


def plan_step(
    step: str, what: str, rows: Iterable[tuple[object, ...]], *columns: str, cost: str = "none worth naming",
    totals: Mapping[str, int] | None = None,
) -> StepPlan:  # fmt: skip
    """The plan of a step with a row an object, named by its first column; without `totals` its rows are counted as checks."""
    objects = frame(rows, *columns)
    return StepPlan(step, what, objects, totals if totals is not None else {"checks": len(objects)}, cost)


def compute_cost(settings: Settings) -> str:
    """What can be said of the cost of a run."""
    if settings.values.stack == "local":
        return "not estimated on a stand-in"
    return "not estimated: it depends on the size of the warehouse or cluster and on how long it runs, which nobody has measured here"
