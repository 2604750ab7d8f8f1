"""Work that only the larger GPUs can do: while it would be what ends last, they leave the rest to the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

from hotset.scheduling.costs import own_power
from hotset.scheduling.snapshot import Demand, Snapshot

#: Shorter queues (s) need no such care: whoever is free takes what comes.
LEAST_S = 20.0
#: A last load and run count for no more than this part of the work before them.
TAIL = 0.25


def left_to_smaller(snapshot: Snapshot, waiting: Mapping[str, Demand], models: Collection[str]) -> Set[str]:
    """Of these models those that come after the rest of them; none where all would, or where all fit everywhere."""
    rooms, known = snapshot.others.rooms, snapshot.models
    if not rooms or len(models) < 2:
        return set()
    sizes = {model: known[model].size_mb for model in models if model in known}
    if max(sizes.values(), default=0.0) <= min(rooms):
        return set()
    least = smallest_mb(snapshot, waiting)
    return {model for model, size in sizes.items() if size < least}


def smallest_mb(snapshot: Snapshot, waiting: Mapping[str, Demand]) -> float:
    """The size of the smallest model that this GPU works on as long as there is such work; 0: any.

    What fits on a small GPU fits on all larger ones. So what waits takes at least as long as the work for models of
    some size takes on the GPUs that are large enough for it; a load and a run of the longest of them come last, and
    count as far as there is much such work. Where that is longer than all work takes on all GPUs, smaller models are
    in its way.
    """
    view, rooms, models = snapshot.gpu, snapshot.others.rooms, snapshot.models
    if not rooms or view.vram_mb <= min(rooms):
        return 0.0  # what fits here fits everywhere
    kinds = sorted({**rooms, view.vram_mb: rooms.get(view.vram_mb, 0.0) + own_power(view)}.items())
    if len(kinds) == 1:
        return 0.0
    everywhere, rest = kinds[0][0], 0.0
    large: list[tuple[float, int, Demand]] = []
    for i, demand in enumerate(waiting.values()):
        known = models.get(demand.model)
        if known is None:
            continue
        if known.size_mb > everywhere:
            large.append((-known.size_mb, i, demand))
        else:
            rest += demand.work
    large.sort()
    power = work = tail = longest = at = 0.0
    for minus, _, demand in large:
        size = -minus
        while kinds[-1][0] >= size:  # some are too small
            power += kinds.pop()[1]
        work += demand.work
        if power and size <= view.vram_mb:
            tail = max(tail, (models[demand.model].load_s + demand.work / demand.jobs) / view.speed)
            their_s = work / power * (1.0 + min(TAIL, tail * power / work))
            if their_s > longest:
                longest, at = their_s, size
    if not at:
        return 0.0
    if rest:
        work += rest
        for _, their_power in reversed(kinds):
            power += their_power
    return at if longest > max(work / power, LEAST_S) else 0.0
