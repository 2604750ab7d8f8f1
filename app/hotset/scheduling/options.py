"""What the operator wants of the policy: one word, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Objective = Literal["throughput", "balanced", "deadlines"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

#: c of the minimum residency, by objective. Measured: see DESIGN.md.
PATIENCE: dict[Objective, float] = {"throughput": 4.0, "balanced": 2.0, "deadlines": 1.0}


@dataclass(frozen=True, slots=True)
class Options:
    """`objective` chooses the point on the frontier between few swaps and few missed deadlines."""

    objective: Objective = "balanced"

    @property
    def patience(self) -> float:
        """How long a hot set is kept although a cold queue is about to miss: a factor, without unit."""
        return PATIENCE[self.objective]
