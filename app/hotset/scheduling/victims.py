"""Whom to evict so that a model fits: the set of least harm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from operator import itemgetter

from hotset.scheduling.costs import own_power, supply
from hotset.scheduling.snapshot import Demand, Resident, Snapshot

#: Up to so many residents every set of victims is compared; beyond, they are taken one by one.
COMPARE_ALL = 4

_Harm = tuple[float, float, float, float, float]
Harms = list[tuple[_Harm, Resident]]
_HARM = itemgetter(0)


def harms_of(snapshot: Snapshot, waiting: Mapping[str, Demand]) -> Harms:
    """What the eviction of each resident would cost, worked out once for all models that might take its place; of more
    than are compared in every set, the least harm first."""
    harms = [(_harm(snapshot, r, waiting), r) for r in snapshot.gpu.residents]
    return sorted(harms, key=_HARM) if len(harms) > COMPARE_ALL else harms


def victims_for(snapshot: Snapshot, model: str, harms: Harms) -> tuple[str, ...] | None:
    """The residents to evict so that the model fits: the set of least harm. None: it never fits on this GPU.

    Harm, in this order: waiting work, running requests to wait for, strangers' models (their owners would load them
    again and evict ours), seconds to load them again, number. Work and loads count less where other GPUs hold the model
    too: the last one that is left is the one that somebody will have to load again.
    """
    view = snapshot.gpu
    known = snapshot.models.get(model)
    if known is None or known.size_mb > view.vram_mb:
        return None
    missing = known.size_mb - (view.vram_mb - sum([r.size_mb for r in view.residents]))
    if missing <= 0:
        return ()
    if len(view.residents) == 1:
        return (view.residents[0].model,)
    if len(harms) > COMPARE_ALL:
        return _one_by_one(harms, missing)
    best: tuple[_Harm, tuple[str, ...]] | None = None
    for harm, resident in harms:  # mostly one is enough
        if resident.size_mb >= missing and (best is None or harm < best[0]):
            best = (harm, (resident.model,))
    for size in range(2, len(harms) + 1):
        for chosen in combinations(harms, size):
            if sum([r.size_mb for _, r in chosen]) >= missing:
                total = _add(h for h, _ in chosen)
                if best is None or total < best[0]:
                    best = (total, tuple(r.model for _, r in chosen))
    return best[1] if best is not None else None


def _harm(snapshot: Snapshot, resident: Resident, waiting: Mapping[str, Demand]) -> _Harm:
    demand, here = waiting.get(resident.model), own_power(snapshot.gpu)
    part = here / (here + supply(snapshot, resident.model).power)
    work = part * demand.work if demand is not None else 0.0
    drain = max(snapshot.runs.get(resident.model, 0.0), 1.0) if resident.running else 0.0  # never nothing: it must end
    known = snapshot.models.get(resident.model)
    return work, drain, 1.0 if known is None else 0.0, part * known.load_s if known is not None else 0.0, 1.0


def _add(harms: Iterable[_Harm]) -> _Harm:
    work = drain = strangers = load = number = 0.0
    for harm in harms:
        work, drain, strangers = work + harm[0], max(drain, harm[1]), strangers + harm[2]
        load, number = load + harm[3], number + harm[4]
    return work, drain, strangers, load, number


def _one_by_one(harms: Harms, missing: float) -> tuple[str, ...]:
    """Least harm first until it fits; then give back, worst first, whoever was not needed."""
    chosen: list[Resident] = []
    for _, resident in harms:
        chosen.append(resident)
        if sum([r.size_mb for r in chosen]) >= missing:
            break
    for resident in reversed(list(chosen)):
        if sum([r.size_mb for r in chosen]) - resident.size_mb >= missing:
            chosen.remove(resident)
    return tuple(r.model for r in chosen)
