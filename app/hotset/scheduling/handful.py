"""A handful of waiting jobs on an idle GPU: in which order their models are loaded best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Protocol

from hotset.scheduling.snapshot import Demand, Snapshot

#: So few jobs and models are planned as if nobody else came; of more, somebody will.
MOST_JOBS, MOST_MODELS = 12, 4
#: What a missed deadline counts, in seconds of waiting.
MISS_S = 60.0
#: A wait of so many seconds doubles the weight of a model's jobs, here and in `loads.value`.
AGEING_S = 30.0


class Cold(Protocol):
    """What is known of a model that could be loaded."""

    @property
    def demand(self) -> Demand: ...

    @property
    def load_s(self) -> float: ...


def is_handful(demands: Sequence[Demand]) -> bool:
    return 1 < len(demands) <= MOST_MODELS and sum([d.jobs for d in demands]) <= MOST_JOBS


def first_of_plan(snapshot: Snapshot, cold: Sequence[Cold]) -> int:
    """Which of them to load first, so that the waits and misses of all that waits are least."""
    orders = permutations(range(len(cold)))
    return min(orders, key=lambda order: _cost_s(snapshot, [cold[i] for i in order]))[0]


def _cost_s(snapshot: Snapshot, order: Iterable[Cold]) -> float:
    """Seconds of waiting, and misses, if the models are loaded one by one, each as soon as it fits beside those whose
    work has not ended. Of several deadlines of a model only the earliest is known: it stands for all."""
    view = snapshot.gpu
    slots, room, loaded, total = [0.0] * view.slots, view.vram_mb, 0.0, 0.0
    hot: list[tuple[float, float]] = []  # (end of its work, size)
    for one in order:
        demand, size = one.demand, snapshot.models[one.demand.model].size_mb
        while room < size:
            end, freed = hot.pop(0)
            loaded, room = max(loaded, end), room + freed
        room -= size
        loaded += one.load_s
        run_s, weight = demand.work / demand.jobs / view.speed, demand.weight / demand.jobs
        weight *= 1.0 + (snapshot.now - demand.oldest) / AGEING_S
        latest, end = demand.next_deadline - snapshot.now, loaded
        for i in range(demand.jobs):
            slot = slots.index(min(slots))
            at = max(slots[slot], loaded)
            total += at * weight if at <= latest or i >= demand.savable else (at + MISS_S) * weight
            end = slots[slot] = at + run_s
        hot.append((end, size))
    return total
