"""Which cold model to load, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf, sqrt

from hotset.scheduling.bound import MARGIN_S, OVERDUE_RESIDENCY, RESIDENCY_AT_COST_S, can_wait
from hotset.scheduling.costs import drain_s, load_s, own_power, share, supply
from hotset.scheduling.decisions import Load
from hotset.scheduling.handful import AGEING_S, first_of_plan, is_handful
from hotset.scheduling.options import Options
from hotset.scheduling.run import by_age, last_since, overloaded, weight_of
from hotset.scheduling.scarce import smallest_mb
from hotset.scheduling.snapshot import Demand, GpuView, Snapshot
from hotset.scheduling.victims import harms_of, victims_for

#: Minimum residency: patience × clamp(PART × backlog work ÷ slots, SHORTEST, LONGEST).
RESIDENCY_PART, RESIDENCY_SHORTEST_S, RESIDENCY_LONGEST_S = 0.35, 20.0, 300.0
#: No switch counts as cheaper: a free one would leave no residency, and two queues could swap for ever.
CHEAPEST_SWITCH_S = 1.0
#: Of many cold models so many are looked at closely: those of the most jobs for the seconds, the earliest deadlines,
#: the oldest jobs.
LOOK_CLOSELY = 3
#: A job that has waited for longer than the whole backlog would take, so many times over (and at least so many
#: seconds), is stale: the next model is its own, first where that takes nothing from anyone, then by force.
STALE_SPARE, STALE_FORCED, STALE_SHORTEST_S = 3.0, 4.0, 60.0
#: Several GPUs: a job that has waited for the whole backlog forces a switch as a stale one does; each of them only
#: where its weighted wait is so many times that of any on the models that would go.
LEFT_BEHIND, LONGER = 1.0, 1.25
#: Several GPUs: idle models give way only for what the holders of the other would not start within so many times what
#: the switch takes. They would be wanted again soon, and then cost a load themselves.
SPARE_SWITCHES = 3.0
#: Several GPUs: while others with this part of all power hold (or load) a model, its deadlines force no further switch.
ENOUGH_POWER = 0.2
#: Sums of sizes in another order differ by less.
ROUNDING_MB = 1e-6


class Candidate:
    """A cold model that fits: who would go, what the switch would cost (s), and how much this GPU would gain by it.

    `share`: its part of the backlog (0..1). Into free VRAM a load costs nobody anything, so there all that the GPUs
    which hold the model cannot start at once counts; in place of others only what they have not begun meanwhile.
    `value`: jobs ÷ (load + work), in jobs a second; jobs count by priority and by the age of their oldest.
    """

    __slots__ = ("demand", "drain_s", "load_s", "share", "value", "victims")

    def __init__(self, snapshot: Snapshot, demand: Demand, victims: tuple[str, ...]) -> None:
        self.demand = demand
        self.victims = victims
        self.load_s = load_s(snapshot, demand.model)
        self.drain_s = drain_s(snapshot, victims)
        self.share = share(snapshot, demand, self.load_s + self.drain_s if victims else 0.0)
        self.value = value(snapshot, demand, self.share, self.load_s)


def value(snapshot: Snapshot, demand: Demand, part: float, load: float) -> float:
    """Jobs for the seconds that they and the load take; jobs count by priority and by the age of their oldest."""
    age = 1.0 + (snapshot.now - demand.oldest) / AGEING_S
    return demand.weight * age * part / (load + demand.work * part / snapshot.gpu.speed)


def cold_demands(snapshot: Snapshot, waiting: Mapping[str, Demand]) -> list[Demand]:
    """Waiting work of cold models that the other GPUs leave to this one, and that fit on it.

    While all slots are taken, only what fits beside the models that run: nobody could be granted before the next finish
    anyhow, and who decides then knows more.
    """
    view = snapshot.gpu
    resident = {r.model for r in view.residents}
    room = view.vram_mb - (0.0 if view.free_slots else sum([r.size_mb for r in view.residents if r.running]))
    cold, offered = [], snapshot.others.supply
    for model in waiting if snapshot.sought is None else snapshot.sought:
        if model not in resident:
            known, theirs, demand = snapshot.models.get(model), offered.get(model), waiting[model]
            if known is not None and known.size_mb <= room and (theirs is None or theirs.soon < demand.jobs):
                cold.append(demand)
    return cold


def may_load(
    snapshot: Snapshot,
    cold: Iterable[Demand],
    waiting: Mapping[str, Demand],
    overdue: float,
    backlog: float,
    options: Options,
) -> bool:
    """Could `spare_load` or `forced_load` load one of them, whoever had to go? Mostly neither could, and then nobody
    needs to ask who would: there is no room but that of models in use, and for none of them has a job waited for so
    long, or is a deadline so near, that it may take that. Never false where a load would be decided.
    """
    view, now = snapshot.gpu, snapshot.now
    residents = view.residents
    free_mb = _free_mb(view)
    idle_mb = sum([r.size_mb for r in residents if not r.running and r.model not in waiting])
    first = min([r.since for r in residents], default=-inf)
    drain = drain_s(snapshot, [r.model for r in residents])
    residency = residency_s(backlog, options)
    shorter = late_residency_s(snapshot, residency)
    pressing = stale_since(snapshot, backlog, overdue, LEFT_BEHIND if snapshot.others.gpus else STALE_FORCED)
    for demand in cold:
        load, missing = load_s(snapshot, demand.model), snapshot.models[demand.model].size_mb - free_mb - ROUNDING_MB
        late = demand.oldest <= overdue
        if missing <= 0 or (missing <= idle_mb and (late or _too_much_for_holders(snapshot, demand, load))):
            return True
        rested = now >= first + rest_s(shorter if late else residency, load)
        if rested and (demand.oldest <= pressing or now >= urgent_at(demand, load, drain)):
            return True
    return False


def candidates(snapshot: Snapshot, cold: list[Demand], waiting: Mapping[str, Demand]) -> list[Candidate]:
    """Of the cold models those that are looked at closely, with whom they would take the place of. While all slots are
    taken, only those whose victims run nothing."""
    view = snapshot.gpu
    full = not view.free_slots
    found: list[Candidate] = []
    if not cold:
        return found
    harms = harms_of(snapshot, waiting)
    for demand in _closely(snapshot, cold):
        victims = victims_for(snapshot, demand.model, harms)
        if victims is not None and not (full and _running(view, victims)):
            candidate = Candidate(snapshot, demand, victims)
            if candidate.share > 0:
                found.append(candidate)
    return found


def _closely(snapshot: Snapshot, cold: list[Demand]) -> list[Demand]:
    """Of many cold models the few that could be chosen, in their order."""
    if len(cold) <= LOOK_CLOSELY:
        return cold
    valued = []
    free_mb = _free_mb(snapshot.gpu)
    for i, demand in enumerate(cold):
        load = load_s(snapshot, demand.model)
        part = share(snapshot, demand, load if snapshot.models[demand.model].size_mb > free_mb else 0.0)
        if part > 0:
            valued.append((value(snapshot, demand, part, load), -i, demand))
    if len(valued) > LOOK_CLOSELY:
        best = sorted(valued, reverse=True)[:LOOK_CLOSELY]
        best += sorted(valued, key=lambda v: _turn(snapshot, v[2]))[:LOOK_CLOSELY]
        best += sorted(valued, key=lambda v: v[2].next_deadline)[:LOOK_CLOSELY]
        valued = sorted({-i: (v, i, d) for v, i, d in best}.values(), key=lambda v: -v[1])
    return [demand for _, _, demand in valued]


def _free_mb(view: GpuView) -> float:
    return view.vram_mb - sum([r.size_mb for r in view.residents])


def _turn(snapshot: Snapshot, demand: Demand) -> tuple[float, float]:
    """The order of those whose wait decides: the oldest first."""
    return by_age(demand.oldest, demand.work / demand.jobs) if snapshot.others.gpus else (demand.oldest, 0.0)


def _running(view: GpuView, victims: Collection[str]) -> bool:
    return any(r.running and r.model in victims for r in view.residents)


def spare_load(
    snapshot: Snapshot, cold: list[Candidate], waiting: Mapping[str, Demand], overdue: float, backlog: float
) -> Load | None:
    """A load that takes nothing from anyone: into free VRAM, or in place of models with nothing waiting or running.

    While a request runs on a victim nothing is decided: jobs that arrive until it ends may still join it.

    An overdue or stale job first, the oldest of them; else of a handful what a plan for all of them begins with; else
    the most jobs for the seconds, unless long runs beside the hot models would soon be in the way of a better bargain.
    While an overdue job waits until others had their residency, only overdue ones may take a place: no residency may
    begin anew. On several GPUs nothing takes a place for jobs that the GPUs which hold their model soon start.
    """
    view = snapshot.gpu
    free = [c for c in cold if waiting.keys().isdisjoint(c.victims) and not _running(view, c.victims)]
    if _held_back(cold, overdue):
        free = [c for c in free if not c.victims or c.demand.oldest <= overdue]
    free = [
        c
        for c in free
        if not c.victims
        or c.demand.oldest <= overdue
        or _too_much_for_holders(snapshot, c.demand, c.load_s + c.drain_s)
    ]
    if not free:
        return None
    stale = stale_since(snapshot, backlog, overdue, STALE_SPARE)
    late = [c for c in free if c.demand.oldest <= stale]
    if late:
        best = min(late, key=lambda c: _turn(snapshot, c.demand))
        return Load(view.name, best.demand.model, best.victims, _why_overdue(snapshot, best))
    least = smallest_mb(snapshot, waiting)
    best = max(free, key=lambda c: (snapshot.models[c.demand.model].size_mb >= least, c.value, -c.demand.oldest))
    alone = len(free) == len(waiting) and not view.busy and not snapshot.others.gpus
    if alone and is_handful([c.demand for c in free]):
        best = free[first_of_plan(snapshot, free)]
    elif not best.victims and _better_soon(snapshot, best, cold, waiting):
        return None
    room = f"in place of {_names(best.victims)}, which are idle" if best.victims else "into free VRAM"
    return Load(
        view.name,
        best.demand.model,
        best.victims,
        f"{_jobs(best.demand.jobs)} of {best.demand.work:.0f} s for a load of {best.load_s:.1f} s, {room}.",
    )


def backlog_s(snapshot: Snapshot, waiting: Mapping[str, Demand]) -> float:
    """How long all GPUs together would work on what waits, without a switch."""
    return sum([d.work for d in waiting.values()]) / (own_power(snapshot.gpu) + snapshot.others.power)


def residency_s(backlog: float, options: Options) -> float:
    """How long a hot set with waiting work is kept, before what a switch costs comes in.

    It grows with the load on the fleet, or swaps would eat the GPUs: each also delays jobs that have yet to arrive.
    """
    return options.patience * min(max(RESIDENCY_PART * backlog, RESIDENCY_SHORTEST_S), RESIDENCY_LONGEST_S)


def late_residency_s(snapshot: Snapshot, residency: float) -> float:
    """The residency before a switch for an overdue job."""
    return min(residency, OVERDUE_RESIDENCY * snapshot.max_wait_s)


def rested_at(view: GpuView, candidate: Candidate, residency: float, overdue: float) -> float:
    """When the victims, the last loaded of them, have had their minimum residency: longer before a costly switch.

    For an overdue job it is the first loaded of them: loads beside it must not begin its wait anew.
    """
    late = candidate.demand.oldest <= overdue
    since = (min if late else max)((r.since for r in view.residents if r.model in candidate.victims), default=-inf)
    return since + rest_s(residency, candidate.load_s + candidate.drain_s)


def rest_s(residency: float, cost_s: float) -> float:
    """The residency before a switch that costs so many seconds."""
    return residency * sqrt(max(cost_s, CHEAPEST_SWITCH_S) / RESIDENCY_AT_COST_S)


def urgent_at(demand: Demand, load: float, drain: float) -> float:
    """When a switch must be decided for the next deadline to be met; infinity: no deadline can be met."""
    return demand.next_deadline - load - drain / 2 - MARGIN_S


def stale_since(snapshot: Snapshot, backlog: float, overdue: float, part: float) -> float:
    """Jobs that arrived then or before have waited out of all proportion to the backlog: rare models on a busy GPU."""
    return max(overdue, snapshot.now - max(STALE_SHORTEST_S, part * backlog))


def forced_load(
    snapshot: Snapshot,
    cold: list[Candidate],
    waiting: Mapping[str, Demand],
    overdue: float,
    backlog: float,
    options: Options,
) -> Load | None:
    """A load that takes the GPU from waiting jobs: for an overdue or stale job, one of several GPUs also for a job left
    far behind those on its hot models, or for a deadline about to be missed.

    Never before the minimum residency of those that would go, so that each load serves some jobs; never for a deadline
    or a stale job while an overdue job waits for a load; never for a deadline while one waits on a victim, nor for an
    overdue or stale job while an older one does. So the oldest of all overdue jobs, once its model is hot, stays hot
    until it has started: nothing can swap for ever. One GPU alone puts a switch for an overdue job off as long as all
    that are late would still be in time. A deadline must be worth what those lose who wait on the victims,
    but in overload it must be that of jobs shorter than those that they push aside.
    """
    if not cold:
        return None
    view = snapshot.gpu
    residency = residency_s(backlog, options)
    stale = stale_since(snapshot, backlog, overdue, STALE_FORCED)
    overload = overloaded(snapshot, backlog)
    shorter = late_residency_s(snapshot, residency)
    hurried = last_since(snapshot, backlog, options) if overload else overdue
    held_back = _held_back(cold, overdue)
    behind = -inf
    if snapshot.others.gpus and not overload:
        behind = stale_since(snapshot, backlog, overdue, LEFT_BEHIND)
    late: list[Candidate] = []
    urgent: list[tuple[float, int]] = []
    for i, candidate in enumerate(cold):
        rest = shorter if candidate.demand.oldest <= hurried else residency
        if snapshot.now < rested_at(view, candidate, rest, overdue):
            continue
        if held_back and candidate.demand.oldest > overdue:
            continue
        oldest = min((waiting[v].oldest for v in candidate.victims if v in waiting), default=inf)
        if candidate.demand.oldest <= overdue or (
            candidate.demand.oldest <= stale and _waits_longer(snapshot, candidate, waiting)
        ):
            if candidate.demand.oldest < oldest:
                late.append(candidate)
        elif candidate.demand.oldest <= behind and _left_behind(snapshot, candidate, waiting):
            late.append(candidate)
        elif (
            oldest > overdue
            and snapshot.now >= (at := urgent_at(candidate.demand, candidate.load_s, candidate.drain_s))
            and (overdue > -inf or _shorter(candidate, waiting))
            and (overload or _worth(snapshot, candidate, waiting, options))
        ):
            urgent.append((at, i))
    if late:
        best = min(late, key=lambda c: _turn(snapshot, c.demand))
        waits = best.demand.oldest <= overdue and not snapshot.others.gpus
        if not (waits and can_wait(snapshot, best, cold, waiting, overload)):
            return Load(view.name, best.demand.model, best.victims, _why_overdue(snapshot, best))
    if not urgent:
        return None
    best = cold[min(urgent)[1]]
    slack = best.demand.next_deadline - snapshot.now
    return Load(
        view.name,
        best.demand.model,
        best.victims,
        f"The next deadline of {best.demand.model} is in {slack:.0f} s, its load takes {best.load_s:.1f} s and the "
        f"drain about {best.drain_s:.0f} s; {_names(best.victims)} had the minimum residency.",
    )


def _better_soon(snapshot: Snapshot, chosen: Candidate, cold: list[Candidate], waiting: Mapping[str, Demand]) -> bool:
    """Would its runs in free VRAM keep out a better bargain, whose victims have less left than one such run?"""
    run_s = chosen.demand.work / chosen.demand.jobs / snapshot.gpu.speed
    for other in cold:
        if other.value > chosen.value and other.victims:
            left = sum([waiting[v].work for v in other.victims if v in waiting]) / own_power(snapshot.gpu)
            if left + other.drain_s < run_s:
                return True
    return False


def _waits_longer(snapshot: Snapshot, candidate: Candidate, waiting: Mapping[str, Demand]) -> bool:
    """Does its oldest job wait far longer than any on the victims, shorter runs counting for more? One GPU alone asks
    for nothing like it: there stale jobs are those of rare models."""
    if not snapshot.others.gpus:
        return True
    going = [_weighted_wait(snapshot, waiting[v]) for v in candidate.victims if v in waiting]
    return _weighted_wait(snapshot, candidate.demand) >= LONGER * max(going, default=-inf)


def _weighted_wait(snapshot: Snapshot, demand: Demand) -> float:
    return (snapshot.now - demand.oldest) * weight_of(demand.work / demand.jobs)


def _left_behind(snapshot: Snapshot, candidate: Candidate, waiting: Mapping[str, Demand]) -> bool:
    """Does its oldest job wait far longer than those on the victims, for want of GPUs that hold its model?

    Then this GPU changes sides, as long as that model's work takes longer even with it than the victims' does now, and
    no less long without it than the victims' would then."""
    going = [v for v in candidate.victims if v in waiting]
    if not going or not _waits_longer(snapshot, candidate, waiting):
        return False
    if _passes_the_wait_on(snapshot, candidate, waiting):
        return False
    own = own_power(snapshot.gpu)
    theirs = sum([waiting[v].work / (own + supply(snapshot, v).power) for v in going])
    return candidate.demand.work / (own + supply(snapshot, candidate.demand.model).power) >= theirs


def _passes_the_wait_on(snapshot: Snapshot, candidate: Candidate, waiting: Mapping[str, Demand]) -> bool:
    """Would the work for a victim take longer on the GPUs that still hold it than the model's own takes on those that
    hold it now? Then others would wait in its place, and longer. Never so for a model that no GPU holds: it has to be
    loaded by somebody."""
    demand = candidate.demand
    theirs = supply(snapshot, demand.model).power
    return any(
        waiting[v].work * theirs > demand.work * supply(snapshot, v).power for v in candidate.victims if v in waiting
    )


def _held_back(cold: list[Candidate], overdue: float) -> bool:
    """Does an overdue job wait for a load? Then no other may come between."""
    return any(c.demand.oldest <= overdue for c in cold)


def _too_much_for_holders(snapshot: Snapshot, demand: Demand, switch_s: float) -> bool:
    """Would jobs be left if the GPUs that hold the model worked on them for several times what the switch takes?"""
    return share(snapshot, demand, SPARE_SWITCHES * switch_s) > 0


def _worth(snapshot: Snapshot, candidate: Candidate, waiting: Mapping[str, Demand], options: Options) -> bool:
    """Are the deadlines that a switch may save worth what all who wait on the victims lose by it: the drain, the load
    and about as much to come back? Those who wait lose less where other GPUs hold the victims too, and this GPU saves
    its share only. Without `ENOUGH_POWER` all GPUs would leave their models for the same few deadlines at once. Unless
    deadlines are wanted most of all, none is worth that the longest wait is passed on."""
    own, lost = own_power(snapshot.gpu), 0.0
    if supply(snapshot, candidate.demand.model).power >= ENOUGH_POWER * (own + snapshot.others.power):
        return False
    if options.objective != "deadlines" and _passes_the_wait_on(snapshot, candidate, waiting):
        return False
    for victim in candidate.victims:
        if victim in waiting:
            lost += waiting[victim].jobs * own / (own + supply(snapshot, victim).power)
    lost *= candidate.drain_s + 2 * candidate.load_s
    return candidate.demand.savable * candidate.share * options.deadline_worth_s >= lost


def _shorter(candidate: Candidate, waiting: Mapping[str, Demand]) -> bool:
    """Are its jobs shorter than those on the models that would go? Of these more are saved in the same time."""
    going = [waiting[v] for v in candidate.victims if v in waiting]
    jobs, work = sum(d.jobs for d in going), sum(d.work for d in going)
    return not jobs or candidate.demand.work / candidate.demand.jobs < work / jobs


def _why_overdue(snapshot: Snapshot, candidate: Candidate) -> str:
    waited = snapshot.now - candidate.demand.oldest
    return f"A job of {candidate.demand.model} waits {waited:.0f} s of at most {snapshot.max_wait_s:.0f} s."


def _names(models: Collection[str]) -> str:
    return " and ".join(models)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
