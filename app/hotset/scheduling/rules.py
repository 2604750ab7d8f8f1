"""The rules, one function each. DESIGN.md says where each comes from and what was tried and lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from math import sqrt

from hotset.scheduling.costs import Demand, drain_s, helpers, load_s, power, share
from hotset.scheduling.decisions import Load, Run, Selector
from hotset.scheduling.options import Options
from hotset.scheduling.snapshot import GpuView, Lane, QueueView, Resident, Snapshot

#: A job older than this part of `max_wait_s` goes first of all: the rest of the bound is for the swap it may need.
OVERDUE = 0.6
#: Slack that a switch for a deadline keeps beside load and half a drain.
MARGIN_S = 15.0
#: Minimum residency: patience × clamp(PART × backlog work ÷ slots, SHORTEST, LONGEST).
RESIDENCY_PART, RESIDENCY_SHORTEST_S, RESIDENCY_LONGEST_S = 0.35, 8.0, 300.0
#: The residency grows with the root of what the switch costs; this cost (s) leaves it as it is.
RESIDENCY_AT_COST_S = 20.0
#: No switch counts as cheaper: a free one would leave no residency, and two queues could swap for ever.
CHEAPEST_SWITCH_S = 1.0
#: A wait of so many seconds doubles the weight of a backlog when the next model is chosen.
AGEING_S = 30.0
#: Up to so many residents every set of victims is compared; beyond, they are taken one by one.
COMPARE_ALL = 10

# ---- what to run on the models that are hot ------------------------------------------------------------------


def overdue(snapshot: Snapshot, arrival: float) -> bool:
    """Has the job that arrived then used up its part of the bound? This is also the ageing of low priorities."""
    return snapshot.now - arrival >= OVERDUE * snapshot.max_wait_s


_Rank = tuple[int, float, float, float]


def _ranked(snapshot: Snapshot, lane: Lane) -> list[tuple[_Rank, Selector, int]]:
    """How a lane's jobs stand in the order, best first: (rank, selector, how many)."""
    if overdue(snapshot, lane.oldest_arrival):
        # How many are overdue cannot be seen from outside: grant one, look again at the next decision.
        ranks: list[tuple[_Rank, Selector, int]] = [((0, lane.oldest_arrival, 0.0, 0.0), "overdue", 1)]
    else:
        ranks = []
    if lane.alone:
        ranks.append(((1, -lane.priority, 2.0, lane.oldest_arrival), "oldest", lane.waiting))
        return ranks
    if lane.savable > 0 and lane.next_deadline is not None:
        ranks.append(((1, -lane.priority, 0.0, lane.next_deadline), "savable", lane.savable))
    if lane.waiting > lane.savable or not ranks:
        ranks.append(((1, -lane.priority, 1.0, lane.oldest_arrival), "oldest", lane.waiting - lane.savable))
    return ranks


def grants(snapshot: Snapshot, view: GpuView, closing: Collection[str]) -> list[Run]:
    """Runs for the free slots, on resident models that are not being drained.

    Overdue jobs first, oldest first; then by priority; within it those that can still meet their deadline, earliest
    first; then the hopeless, oldest first; then suspects. A suspect starts on an empty GPU only. Until it is overdue
    it gives way; once it is, nothing ranked behind it starts, so that the GPU empties in one drain at most.
    """
    free = view.free_slots
    if not free:
        return []
    hot = {r.model for r in view.residents if r.model not in closing}
    order: list[tuple[_Rank, int, Selector, int, QueueView, Lane]] = []
    for queue in snapshot.queues:
        if queue.lanes and queue.model in hot:
            for lane in queue.lanes:
                if lane.waiting > 0:
                    for rank, selector, count in _ranked(snapshot, lane):
                        order.append((rank, len(order), selector, count, queue, lane))
    order.sort()
    runs: list[Run] = []
    left: dict[tuple[str, str], int] = {}
    for rank, _, selector, count, queue, lane in order:
        if lane.alone:
            if not view.busy and not runs:
                return [_run(snapshot, view, queue, lane, selector)]
            if rank[0] == 0:
                break
            continue
        key = (queue.name, lane.name)
        can = min(count, left.get(key, lane.waiting), free - len(runs))
        if can > 0:
            left[key] = left.get(key, lane.waiting) - can
            runs.extend([_run(snapshot, view, queue, lane, selector)] * can)
            if len(runs) == free:
                break
    return runs


def _run(snapshot: Snapshot, view: GpuView, queue: QueueView, lane: Lane, selector: Selector) -> Run:
    waited = snapshot.now - lane.oldest_arrival
    if lane.alone:
        reason = f"A suspect of {queue.name} runs alone: it waits {waited:.0f} s and no other request runs."
    elif selector == "overdue":
        reason = f"The oldest job of {queue.name} waits {waited:.0f} s of at most {snapshot.max_wait_s:.0f} s."
    elif selector == "savable":
        slack = (lane.next_deadline or snapshot.now) - snapshot.now
        reason = f"{queue.model} is hot; the next deadline of {queue.name} is in {slack:.1f} s."
    else:
        reason = f"{queue.model} is hot; the oldest job of {queue.name} waits {waited:.0f} s, past its deadline."
    return Run(view.name, queue.name, lane.name, selector, queue.model, reason)


def hot_suspects(view: GpuView, queues: Iterable[QueueView]) -> list[tuple[QueueView, Lane]]:
    """Lanes of suspects whose model is resident: they wait for this GPU to be empty."""
    hot = {r.model for r in view.residents}
    return [(q, lane) for q in queues if q.model in hot for lane in q.lanes if lane.alone and lane.waiting > 0]


# ---- whom to evict -------------------------------------------------------------------------------------------


def victims_for(
    snapshot: Snapshot, view: GpuView, model: str, waiting: Mapping[str, Demand], runs: Mapping[str, float]
) -> tuple[str, ...] | None:
    """The residents to evict so that the model fits: the set of least harm. None: it never fits on this GPU.

    Harm, in this order: waiting work (less where other GPUs hold the model too), running requests to wait for,
    strangers' models (their owners would load them again and evict ours), seconds to load them again, number.
    """
    known = snapshot.models.get(model)
    if known is None or known.size_mb > view.vram_mb:
        return None
    missing = known.size_mb - (view.vram_mb - sum([r.size_mb for r in view.residents]))
    if missing <= 0:
        return ()
    harms = [(_harm(snapshot, view, r, waiting, runs), r) for r in view.residents]
    if len(harms) == 1:
        return (harms[0][1].model,)
    if len(harms) > COMPARE_ALL:
        return _one_by_one(harms, missing)
    best: tuple[_Harm, tuple[str, ...]] | None = None
    for size in range(1, len(harms) + 1):
        for chosen in combinations(harms, size):
            if sum(r.size_mb for _, r in chosen) >= missing:
                total = _add(h for h, _ in chosen)
                if best is None or total < best[0]:
                    best = (total, tuple(r.model for _, r in chosen))
    return best[1] if best is not None else None


_Harm = tuple[float, float, float, float, float]


def _harm(
    snapshot: Snapshot,
    view: GpuView,
    resident: Resident,
    waiting: Mapping[str, Demand],
    runs: Mapping[str, float],
) -> _Harm:
    demand = waiting.get(resident.model)
    work = 0.0
    if demand is not None:
        elsewhere = power(helpers(snapshot, view, resident.model)) if len(snapshot.gpus) > 1 else 0.0
        here = view.slots * view.speed
        work = demand.work * here / (here + elsewhere)
    drain = max(runs.get(resident.model, 0.0), 1.0) if resident.running else 0.0  # never nothing: it must end
    known = snapshot.models.get(resident.model)
    return work, drain, 1.0 if known is None else 0.0, known.load_s if known is not None else 0.0, 1.0


def _add(harms: Iterable[_Harm]) -> _Harm:
    work = drain = strangers = load = number = 0.0
    for harm in harms:
        work, drain, strangers = work + harm[0], max(drain, harm[1]), strangers + harm[2]
        load, number = load + harm[3], number + harm[4]
    return work, drain, strangers, load, number


def _one_by_one(harms: list[tuple[_Harm, Resident]], missing: float) -> tuple[str, ...]:
    """Least harm first until it fits; then give back, worst first, whoever was not needed."""
    chosen: list[Resident] = []
    for _, resident in sorted(harms, key=lambda pair: pair[0]):
        chosen.append(resident)
        if sum(r.size_mb for r in chosen) >= missing:
            break
    for resident in reversed(list(chosen)):
        if sum(r.size_mb for r in chosen) - resident.size_mb >= missing:
            chosen.remove(resident)
    return tuple(r.model for r in chosen)


# ---- which cold model to load, and when ------------------------------------------------------------------------


class Candidate:
    """A cold model that fits: who would go, what the switch would cost (s), and how much this GPU would gain by it.

    `value`: jobs ÷ (load + work), in jobs a second; jobs count by priority and by the age of their oldest.
    """

    __slots__ = ("demand", "drain_s", "load_s", "share", "value", "victims")

    def __init__(
        self,
        snapshot: Snapshot,
        view: GpuView,
        demand: Demand,
        victims: tuple[str, ...],
        runs: Mapping[str, float],
    ) -> None:
        self.demand = demand
        self.victims = victims
        self.load_s = load_s(snapshot, view, demand.model)
        self.drain_s = drain_s(view, victims, runs)
        self.share = share(snapshot, view, demand, self.load_s + self.drain_s) if len(snapshot.gpus) > 1 else 1.0
        work = demand.work * self.share / view.speed
        age = 1.0 + (snapshot.now - demand.oldest) / AGEING_S
        self.value = demand.weight * age * self.share / (self.load_s + work)


def candidates(
    snapshot: Snapshot, view: GpuView, waiting: Mapping[str, Demand], runs: Mapping[str, float]
) -> list[Candidate]:
    """Cold models with work that the other GPUs leave to this one, and that fit on it.

    While all slots are taken, only those whose victims run nothing: nobody could be granted before the next finish
    anyhow, and who decides then knows more.
    """
    found = []
    full = not view.free_slots
    resident = {r.model for r in view.residents}
    for demand in waiting.values():
        if demand.model in resident or (full and not _room_in_idle(snapshot, view, demand.model)):
            continue
        victims = victims_for(snapshot, view, demand.model, waiting, runs)
        if victims is not None and not (full and _running(view, victims)):
            candidate = Candidate(snapshot, view, demand, victims, runs)
            if candidate.share > 0:
                found.append(candidate)
    return found


def _room_in_idle(snapshot: Snapshot, view: GpuView, model: str) -> bool:
    """Would the model fit beside those that run? A quick no saves the search for victims while the GPU is full."""
    known = snapshot.models.get(model)
    return known is not None and known.size_mb <= view.vram_mb - sum([r.size_mb for r in view.residents if r.running])


def _running(view: GpuView, victims: Collection[str]) -> bool:
    return any(r.running and r.model in victims for r in view.residents)


def spare_load(snapshot: Snapshot, view: GpuView, cold: list[Candidate], waiting: Mapping[str, Demand]) -> Load | None:
    """A load that takes nothing from anyone: into free VRAM, or in place of models with nothing waiting or running.

    While a request runs on a victim nothing is decided: jobs that arrive until it ends may still join it.

    An overdue job first, the oldest of them; else the most jobs for the seconds.
    """
    free = [c for c in cold if not any(v in waiting for v in c.victims) and not _running(view, c.victims)]
    if not free:
        return None
    late = [c for c in free if overdue(snapshot, c.demand.oldest)]
    if late:
        best = min(late, key=lambda c: c.demand.oldest)
        return Load(view.name, best.demand.model, best.victims, _why_overdue(snapshot, best))
    best = max(free, key=lambda c: (c.value, -c.demand.oldest))
    room = f"in place of {_names(best.victims)}, which are idle" if best.victims else "into free VRAM"
    return Load(
        view.name,
        best.demand.model,
        best.victims,
        f"{_jobs(best.demand.jobs)} of {best.demand.work:.0f} s for a load of {best.load_s:.1f} s, {room}.",
    )


def residency_s(snapshot: Snapshot, waiting: Mapping[str, Demand], options: Options) -> float:
    """How long a hot set with waiting work is kept, before what a switch costs comes in.

    It grows with the load on the fleet, or swaps would eat the GPUs: each also delays jobs that have yet to arrive.
    """
    backlog = sum(d.work for d in waiting.values()) / power(snapshot.gpus)
    return options.patience * min(max(RESIDENCY_PART * backlog, RESIDENCY_SHORTEST_S), RESIDENCY_LONGEST_S)


def rested_at(view: GpuView, candidate: Candidate, residency: float) -> float:
    """When the victims, the last loaded of them, have had their minimum residency: longer before a costly switch."""
    since = max((r.since for r in view.residents if r.model in candidate.victims), default=float("-inf"))
    cost = candidate.load_s + candidate.drain_s
    return since + residency * sqrt(max(cost, CHEAPEST_SWITCH_S) / RESIDENCY_AT_COST_S)


def urgent_at(candidate: Candidate) -> float | None:
    """When a switch must be decided for the next deadline to be met; None: no deadline can be met."""
    deadline = candidate.demand.next_deadline
    if deadline is None:
        return None
    return deadline - candidate.load_s - candidate.drain_s / 2 - MARGIN_S


def forced_load(
    snapshot: Snapshot, view: GpuView, cold: list[Candidate], waiting: Mapping[str, Demand], options: Options
) -> Load | None:
    """A load that takes the GPU from waiting jobs: for an overdue job, or for a deadline about to be missed.

    Never before the minimum residency of those that would go, so that each load serves some jobs; never for a deadline
    while an overdue job waits on a victim; never for an overdue job while an older one waits there. So the oldest of
    all overdue jobs, once its model is hot, stays hot until it has started: nothing can swap for ever.
    """
    if not cold:
        return None
    residency = residency_s(snapshot, waiting, options)
    late: list[Candidate] = []
    urgent: list[tuple[float, int]] = []
    for i, candidate in enumerate(cold):
        if snapshot.now < rested_at(view, candidate, residency):
            continue
        oldest = min((waiting[v].oldest for v in candidate.victims if v in waiting), default=float("inf"))
        if overdue(snapshot, candidate.demand.oldest):
            if candidate.demand.oldest < oldest:
                late.append(candidate)
        elif not overdue(snapshot, oldest):
            at = urgent_at(candidate)
            if at is not None and snapshot.now >= at:
                urgent.append((at, i))
    if late:
        best = min(late, key=lambda c: c.demand.oldest)
        return Load(view.name, best.demand.model, best.victims, _why_overdue(snapshot, best))
    if not urgent:
        return None
    best = cold[min(urgent)[1]]
    slack = (best.demand.next_deadline or snapshot.now) - snapshot.now
    return Load(
        view.name,
        best.demand.model,
        best.victims,
        f"The next deadline of {best.demand.model} is in {slack:.0f} s, its load takes {best.load_s:.1f} s and the "
        f"drain about {best.drain_s:.0f} s; {_names(best.victims)} had the minimum residency.",
    )


def _why_overdue(snapshot: Snapshot, candidate: Candidate) -> str:
    waited = snapshot.now - candidate.demand.oldest
    return f"A job of {candidate.demand.model} waits {waited:.0f} s of at most {snapshot.max_wait_s:.0f} s."


def _names(models: Collection[str]) -> str:
    return " and ".join(models)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
