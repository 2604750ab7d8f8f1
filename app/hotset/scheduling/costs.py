"""What a model's waiting work amounts to, and what a switch would cost. All times are model seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hotset.scheduling.snapshot import Demand, GpuView, QueueView, Snapshot, Supply

_NONE = Supply(0, 0.0, 0)


def demands(queues: Iterable[QueueView]) -> dict[str, Demand]:
    """Waiting work by model, in the order of the queues; models without waiting jobs are left out."""
    found: dict[str, Demand] = {}
    for queue in queues:
        one = queue.demand
        if one.jobs:
            other = found.get(one.model)
            found[one.model] = one if other is None else _sum(one, other)
    return found


def _sum(one: Demand, other: Demand) -> Demand:
    """Two tiers may share a model."""
    return Demand(
        one.model,
        one.jobs + other.jobs,
        one.weight + other.weight,
        one.work + other.work,
        min(one.oldest, other.oldest),
        min(one.next_deadline, other.next_deadline),
        one.savable + other.savable,
    )


def load_s(snapshot: Snapshot, model: str) -> float:
    return snapshot.models[model].load_s / snapshot.gpu.speed


def drain_s(snapshot: Snapshot, victims: Collection[str]) -> float:
    """Until the last request on a victim ends: the longest expected run among the victims that run.

    A whole run, not the half that is left on average: the last of several ends late, and run times scatter.
    """
    view, runs = snapshot.gpu, snapshot.runs
    expected = [runs.get(r.model, 0.0) for r in view.residents if r.running and r.model in victims]
    return max(expected, default=0.0) / view.speed


def own_power(view: GpuView) -> float:
    """Slots, weighted by speed."""
    return view.slots * view.speed


def supply(snapshot: Snapshot, model: str) -> Supply:
    """What the other GPUs offer the model."""
    return snapshot.others.supply.get(model, _NONE)


def share(snapshot: Snapshot, demand: Demand, ready_s: float) -> float:
    """The part of a backlog (0..1) that this GPU would get if it loaded the model now and were ready after so long.

    What the GPUs that already hold the model start at once, and what they get through until then, is theirs; the rest
    is shared. So one GPU loads a model for a few jobs, and a second follows only when the first cannot finish the
    backlog while another load takes.
    """
    theirs = snapshot.others.supply.get(demand.model)
    if theirs is None:
        return 1.0
    own = own_power(snapshot.gpu)
    return left(demand, theirs, ready_s) * own / (own + theirs.power)


def left(demand: Demand, theirs: Supply, ready_s: float) -> float:
    """The part of a backlog (0..1) that those who hold the model have not begun after so long."""
    jobs = demand.jobs
    run_s = demand.work / jobs
    taken = theirs.soon + theirs.power * ready_s / (run_s if run_s > 0.001 else 0.001)
    return 1.0 - taken / jobs if taken < jobs else 0.0


def begun_s(demand: Demand, theirs: Supply) -> float:
    """After how long nothing is `left` of the backlog."""
    jobs = demand.jobs - theirs.soon
    return jobs * max(demand.work / demand.jobs, 0.001) / theirs.power if jobs > 0 else 0.0
