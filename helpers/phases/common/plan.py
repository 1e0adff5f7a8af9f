"""What a step would change: shown and recorded in a rehearsal, and what an approval is bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.ledger.ledger import digest


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
