"""How long a switch for an overdue job may wait: until those that are late could no longer all be in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Protocol

from hotset.scheduling.costs import load_s, own_power
from hotset.scheduling.snapshot import Demand, Snapshot

#: What a switch for a deadline or for the bound is decided earlier than need be, beside load and drain.
MARGIN_S = 15.0
#: The residency before a switch for an overdue job is at most this part of `max_wait_s`.
OVERDUE_RESIDENCY = 0.15
#: The residency grows with the root of what the switch costs; this cost (s) leaves it as it is.
RESIDENCY_AT_COST_S = 20.0


class Late(Protocol):
    """What is known of a model that could be loaded."""

    @property
    def demand(self) -> Demand: ...

    @property
    def victims(self) -> tuple[str, ...]: ...

    @property
    def load_s(self) -> float: ...

    @property
    def drain_s(self) -> float: ...


def can_wait(
    snapshot: Snapshot, first: Late, cold: Sequence[Late], waiting: Mapping[str, Demand], overload: bool
) -> bool:
    """Would every model be in time for its oldest job if the switch to `first` began now and MARGIN_S later?

    The models take turns in order of age, the victims among them: each costs its switch and a residency. Outside
    overload nothing is taken for granted: all that wait past their deadline may be as old as the oldest and must start
    in time, each drain takes a run of the slowest model, and arrivals keep each hot for the whole residency.
    In overload that would leave room for nothing but service by age: there only the oldest must start in time.
    """
    power, bound, speed = own_power(snapshot.gpu), snapshot.max_wait_s, snapshot.gpu.speed
    turns = [(c.demand.oldest, c.load_s + c.drain_s, c.demand) for c in cold]
    back = snapshot.runs.get(first.demand.model, 0.0) / speed
    turns += [(waiting[v].oldest, load_s(snapshot, v) + back, waiting[v]) for v in first.victims if v in waiting]
    turns.sort(key=lambda turn: turn[0])
    slowest = 0.0 if overload else max([snapshot.runs.get(d.model, 0.0) for _, _, d in turns]) / speed
    at = snapshot.now + MARGIN_S
    for oldest, switch, demand in turns:
        cost = max(switch, load_s(snapshot, demand.model) + slowest)
        at += cost
        late = 0.0 if overload else demand.work * (1.0 - demand.savable / demand.jobs) / power
        if at + late > oldest + bound:
            return False
        stay = OVERDUE_RESIDENCY * bound * sqrt(cost / RESIDENCY_AT_COST_S)
        at += min(stay, demand.work / power) if overload else max(late, stay)
    return True
