"""What the operator wants of the policy: one word, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Objective = Literal["throughput", "balanced", "deadlines"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

#: c of the minimum residency, by objective. Measured: see DESIGN.md.
PATIENCE: dict[Objective, float] = {"throughput": 4.0, "balanced": 2.5, "deadlines": 1.0}

#: Part of the time that overdue jobs have in overload, by objective.
OLD_SHARE: dict[Objective, float] = {"throughput": 0.35, "balanced": 0.35, "deadlines": 0.2}

#: What a deadline that a switch may save is worth, in seconds that others wait longer for it, by objective.
DEADLINE_WORTH_S: dict[Objective, float] = {"throughput": 40.0, "balanced": 80.0, "deadlines": 1e9}


@dataclass(frozen=True, slots=True)
class Options:
    """`objective` chooses the point on the frontier between few swaps and few missed deadlines."""

    objective: Objective = "balanced"

    @property
    def patience(self) -> float:
        """How long a hot set is kept although a cold queue is about to miss: a factor, without unit."""
        return PATIENCE[self.objective]

    @property
    def old_share(self) -> float:
        """How much of the time goes to jobs that are late anyhow, when not all can be served in time."""
        return OLD_SHARE[self.objective]

    @property
    def deadline_worth_s(self) -> float:
        """How many seconds of others' waiting a switch may cost for each deadline that it may save."""
        return DEADLINE_WORTH_S[self.objective]
