"""What a model's waiting work amounts to, and what a switch would cost. All times are model seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hotset.scheduling.snapshot import GpuView, QueueView, Snapshot

#: Jobs of a higher priority count for more when the next model is chosen: low, normal, high, urgent.
WEIGHTS = {0: 0.5, 1: 1.0, 2: 2.0, 3: 4.0}
_NEVER = float("inf")


class Demand(NamedTuple):
    """All waiting jobs of one model, over its queues.

    `weight`: jobs weighted by priority. `work`: expected slot seconds at speed 1. `oldest`: arrival of the job that
    waits longest. `next_deadline`: the earliest deadline that can still be met, suspects left out (they are late
    already, and no reason to swap before they are overdue).
    """

    model: str
    jobs: int
    weight: float
    work: float
    oldest: float
    next_deadline: float | None


def demands(queues: Iterable[QueueView]) -> dict[str, Demand]:
    """Waiting work by model, in the order of the queues; models without waiting jobs are left out."""
    found: dict[str, Demand] = {}
    for queue in queues:
        if queue.lanes:
            one = _demand(queue)
            if one.jobs:
                other = found.get(queue.model)
                found[queue.model] = one if other is None else _sum(one, other)
    return found


def _demand(queue: QueueView) -> Demand:
    jobs, weight, oldest, deadline = 0, 0.0, _NEVER, _NEVER
    for lane in queue.lanes:
        if lane.waiting > 0:
            jobs += lane.waiting
            weight += lane.waiting * WEIGHTS.get(lane.priority, 1.0)
            if lane.oldest_arrival < oldest:
                oldest = lane.oldest_arrival
            if lane.next_deadline is not None and lane.next_deadline < deadline and not lane.alone:
                deadline = lane.next_deadline
    return Demand(queue.model, jobs, weight, jobs * queue.run_s, oldest, None if deadline == _NEVER else deadline)


def _sum(one: Demand, other: Demand) -> Demand:
    """Two tiers may share a model."""
    deadlines = [d for d in (one.next_deadline, other.next_deadline) if d is not None]
    return Demand(
        one.model,
        one.jobs + other.jobs,
        one.weight + other.weight,
        one.work + other.work,
        min(one.oldest, other.oldest),
        min(deadlines, default=None),
    )


def run_times(queues: Iterable[QueueView]) -> dict[str, float]:
    """The longest expected run by model, at speed 1: what a drain may have to wait for."""
    longest: dict[str, float] = {}
    for queue in queues:
        if queue.run_s > longest.get(queue.model, 0.0):
            longest[queue.model] = queue.run_s
    return longest


def load_s(snapshot: Snapshot, view: GpuView, model: str) -> float:
    return snapshot.models[model].load_s / view.speed


def drain_s(view: GpuView, victims: Iterable[str], runs: Mapping[str, float]) -> float:
    """Until the last request on a victim ends: the longest expected run among the victims that run.

    A whole run, not the half that is left on average: the last of several ends late, and run times scatter.
    """
    longest = 0.0
    for name in victims:
        resident = view.resident(name)
        if resident is not None and resident.running:
            longest = max(longest, runs.get(name, 0.0))
    return longest / view.speed


def helpers(snapshot: Snapshot, view: GpuView, model: str) -> list[GpuView]:
    """The other GPUs that hold the model, or load it, and will keep it."""
    return [other for other in snapshot.gpus if other.name != view.name and _will_hold(other, model)]


def _will_hold(view: GpuView, model: str) -> bool:
    switch = view.switch
    if switch is None:
        return view.resident(model) is not None
    return switch.model == model or (model not in switch.victims and view.resident(model) is not None)


def power(views: Iterable[GpuView]) -> float:
    """Slots, weighted by speed."""
    return sum(v.slots * v.speed for v in views)


def share(snapshot: Snapshot, view: GpuView, demand: Demand, ready_s: float) -> float:
    """The part of a backlog (0..1) that this GPU would get if it loaded the model now and were ready after so long.

    What the GPUs that already hold the model start at once, and what they get through until then, is theirs; the rest
    is shared. So one GPU loads a model for a few jobs, and a second follows only when the first cannot finish the
    backlog while another load takes.
    """
    others = helpers(snapshot, view, demand.model)
    if not others:
        return 1.0
    theirs, own = power(others), view.slots * view.speed
    run_s = max(demand.work / demand.jobs, 0.001)
    taken = sum(_free_soon(other) for other in others) + theirs * ready_s / run_s
    return max(0.0, 1.0 - taken / demand.jobs) * own / (own + theirs)


def _free_soon(view: GpuView) -> int:
    """Slots that are free, or will be when the switch under way has drained its victims."""
    if view.switch is None:
        return view.free_slots
    return view.slots - sum(r.running for r in view.residents if r.model not in view.switch.victims)
