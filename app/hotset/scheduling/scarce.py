"""Work that only the larger GPUs can do: while it would be what ends last, they leave the rest to the others."""

from __future__ import annotations

from collections.abc import Mapping

from hotset.scheduling.costs import own_power
from hotset.scheduling.snapshot import Demand, Snapshot

#: Shorter queues (s) need no such care: whoever is free takes what comes.
LEAST_S = 20.0
#: A last load and run count for no more than this part of the work before them.
TAIL = 0.25


def smallest_mb(snapshot: Snapshot, waiting: Mapping[str, Demand]) -> float:
    """The size of the smallest model that this GPU works on as long as there is such work; 0: any.

    What fits on a small GPU fits on all larger ones. So what waits takes at least as long as the work for models of
    some size takes on the GPUs that are large enough for it; a load and a run of the longest of them come last, and
    count as far as there is much such work. Where that is longer than all work takes on all GPUs, smaller models are
    in its way.
    """
    view, rooms, models = snapshot.gpu, snapshot.others.rooms, snapshot.models
    if not rooms:
        return 0.0
    kinds = sorted({**rooms, view.vram_mb: rooms.get(view.vram_mb, 0.0) + own_power(view)}.items())
    if len(kinds) == 1:
        return 0.0
    power = work = tail = longest = at = 0.0
    for model in sorted([m for m in waiting if m in models], key=lambda m: -models[m].size_mb):
        size, demand = models[model].size_mb, waiting[model]
        while kinds and kinds[-1][0] >= size:
            power += kinds.pop()[1]
        work += demand.work
        if power and kinds and size <= view.vram_mb:  # some are too small, this GPU is not
            tail = max(tail, (models[model].load_s + demand.work / demand.jobs) / view.speed)
            their_s = work / power * (1.0 + min(TAIL, tail * power / work))
            if their_s > longest:
                longest, at = their_s, size
    return at if power and longest > max(work / power, LEAST_S) else 0.0
