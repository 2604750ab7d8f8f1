"""Which waiting jobs start on the models that are hot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf, pow

from hotset.scheduling.costs import own_power
from hotset.scheduling.decisions import Run, Selector
from hotset.scheduling.options import Options
from hotset.scheduling.scarce import left_to_smaller
from hotset.scheduling.snapshot import Demand, GpuView, Lane, QueueView, Snapshot

#: A job older than this part of `max_wait_s` goes first of all: the rest of the bound is for the swap it may need.
OVERDUE = 0.6
#: A suspect that has waited for so long (s) is due: until then it gives way to all, from then on only to overdue jobs
#: that are older. Who has waited in a backlog is due at once; where the GPU is empty sooner, it costs no drain.
SUSPECT_DUE_S = 60.0
#: A lower priority rises by one each time its oldest job has waited for this part of `max_wait_s`.
RISES = 0.2
#: A deadline is at risk when its slack is below what waits on the hot models, and so many seconds.
RISK_S = 15.0
#: A job that has waited so many times the backlog, and at least so many seconds, goes before others of its priority.
LATE, LATE_SHORTEST_S = 1.5, 60.0
#: The same on several GPUs, which lose less by serving in order of age: no job waits for a model to come back.
LATE_SEVERAL, LATE_SEVERAL_SHORTEST_S = 0.75, 15.0
#: Several GPUs: a wait counts for as much as it is long ÷ expected run to this power. Few jobs are long, and one of
#: them holds up many: p99 of all is shorter where the long ones wait a little longer.
SHORT_FIRST = 0.07
#: A run counts as no shorter (s).
SHORTEST_RUN_S = 0.001
#: Several GPUs: of jobs that came in the same so many seconds the longest start first. Last, they would run on alone.
TOGETHER_S = 1.0
#: A backlog of more than this part of `max_wait_s` is overload.
OVERLOAD = 0.5
#: One GPU alone: as long as the backlog is no more than this part of `max_wait_s`, the bound can be held in overload as
#: well: jobs older than that go first all the time.
LAST = 0.8
#: In overload a part of each slice (s) goes to overdue jobs.
SLICE_S = 100.0


def overloaded(snapshot: Snapshot, backlog_s: float) -> bool:
    """Would the GPUs need a large part of the bound for what waits already, without a swap?"""
    return backlog_s > OVERLOAD * snapshot.max_wait_s


def overdue_since(snapshot: Snapshot, backlog_s: float, options: Options) -> float:
    """Jobs that arrived then or before have used up their part of the bound and go first of all (-inf: none).

    In overload service by age would make all others late as well: then it has a share of the time only, in short
    slices, so that as many deadlines as possible are met and yet nobody starves; in between only jobs that are about to
    break the bound go first, if it can be held.
    """
    if overloaded(snapshot, backlog_s) and snapshot.now % SLICE_S >= options.old_share * SLICE_S:
        return last_since(snapshot, backlog_s, options)
    return snapshot.now - OVERDUE * snapshot.max_wait_s


def last_since(snapshot: Snapshot, backlog_s: float, options: Options) -> float:
    """Jobs that arrived then or before break the bound if they do not start soon. -inf: the backlog alone breaks it,
    there are several GPUs, or deadlines are wanted most of all."""
    if snapshot.others.gpus or options.objective == "deadlines" or backlog_s > LAST * snapshot.max_wait_s:
        return -inf
    return snapshot.now - LAST * snapshot.max_wait_s


def due_since(snapshot: Snapshot, overdue: float) -> float:
    """Suspects that arrived then or before have given way for long enough, in overload too: they are few."""
    return max(overdue, snapshot.now - SUSPECT_DUE_S)


def aged_priority(snapshot: Snapshot, lane: Lane, highest: int) -> int:
    """A lane rises by one for each part of the bound that its oldest job has waited, up to the highest that waits."""
    if lane.priority >= highest:
        return lane.priority
    return min(highest, lane.priority + int((snapshot.now - lane.oldest_arrival) / (RISES * snapshot.max_wait_s)))


def by_age(oldest: float, run_s: float) -> tuple[float, float]:
    """In what order several GPUs load models for what waits: by arrival, and of what came together the longest runs."""
    return oldest // TOGETHER_S, -run_s


def weight_of(run_s: float) -> float:
    """What a second of waiting counts for on several GPUs, by the expected run (s): more for shorter ones."""
    return pow(max(run_s, SHORTEST_RUN_S), -SHORT_FIRST)


def _weights(queues: Iterable[QueueView]) -> dict[float, float]:
    """What a second of waiting counts for, by the second in which a lane's oldest job came. Of those that came together
    all count for as little as the longest, which goes first: else a backlog would leave its long runs to the end."""
    longest: dict[float, float] = {}
    for queue in queues:
        for lane in queue.lanes:
            second = lane.oldest_arrival // TOGETHER_S
            longest[second] = max(longest.get(second, 0.0), queue.run_s)
    return {second: weight_of(run_s) for second, run_s in longest.items()}


_Rank = tuple[float, ...]
#: More than what the ranks inside a priority differ by: who comes after all others of it.
_BEHIND = 4.0


def _ranked(
    lane: Lane, priority: int, first: float, late: float, risk: float, turns: tuple[_Rank, _Rank]
) -> list[tuple[_Rank, Selector, int]]:
    """How a lane's jobs stand in the order, best first: (rank, selector, how many). `priority`: with age; `first`:
    what arrived until then is overdue, or a suspect that is due; `turns`: how those of a lane that wait out of
    proportion stand among their like, and how those that can wait, or are hopeless, do."""
    by_wait, turn = turns
    if lane.oldest_arrival <= first:
        # How many of them there are cannot be seen from outside: grant one, look again at the next decision.
        ranks: list[tuple[_Rank, Selector, int]] = [((0, lane.oldest_arrival, 0.0, 0.0), "overdue", 1)]
    elif lane.oldest_arrival <= late:
        ranks = [((1, -priority, -1.0, *by_wait), "overdue", 1)]
    else:
        ranks = []
    if lane.alone:
        ranks.append(((1, -priority, 2.0, lane.oldest_arrival), "oldest", lane.waiting))
        return ranks
    if lane.savable > 0 and lane.next_deadline is not None:
        if lane.next_deadline <= risk:
            ranks.append(((1, -priority, 0.0, lane.next_deadline), "savable", lane.savable))
        else:
            ranks.append(((1, -priority, 0.5, *turn), "savable", lane.savable))
    if lane.waiting > lane.savable or not ranks:
        ranks.append(((1, -priority, 1.0, *turn), "oldest", lane.waiting - lane.savable))
    return ranks


def grants(
    snapshot: Snapshot, closing: Collection[str], overdue: float, backlog: float, waiting: Mapping[str, Demand]
) -> list[Run]:
    """Runs for the free slots, on resident models that are not being drained.

    Overdue jobs and suspects that are due first, oldest first; then by priority; within it those that have waited out
    of proportion to the backlog, oldest first; then those whose deadline is at risk, earliest first; then all others
    that can still meet theirs, shortest first; then the hopeless, shortest first; then suspects. (Several GPUs: by
    weighted wait in place of oldest and of shortest, and of those that came together the longest, or the long runs are
    left to the end of a backlog.) A suspect starts on an empty GPU only. Models that are left to smaller GPUs come
    after all else of their priority, unless overdue. Until a suspect is due it gives way; once it is, nothing ranked
    behind it starts, so that the GPU empties in one drain at most, and all that are due have their turn in it.
    """
    view = snapshot.gpu
    free = view.free_slots
    if not free:
        return []
    hot = {r.model for r in view.residents if r.model not in closing}
    queues = [queue for queue in snapshot.queues if queue.model in hot]
    if not queues:
        return []
    order: list[tuple[_Rank, int, Selector, int, QueueView, Lane]] = []
    risk = snapshot.now + RISK_S + _ahead_s(snapshot, queues)
    due = due_since(snapshot, overdue)
    highest = max([lane.priority for queue in queues for lane in queue.lanes])
    alone = not snapshot.others.gpus
    times, shortest = (LATE, LATE_SHORTEST_S) if alone else (LATE_SEVERAL, LATE_SEVERAL_SHORTEST_S)
    late = overdue if overdue == -inf else max(overdue, snapshot.now - max(shortest, times * backlog))
    others_do = left_to_smaller(snapshot, waiting, {queue.model for queue in queues})
    weights = {} if alone else _weights(queues)
    for queue in queues:
        for lane in queue.lanes:
            priority = highest if lane.priority == highest else aged_priority(snapshot, lane, highest)
            first = due if lane.alone else overdue
            turns: tuple[_Rank, _Rank] = (lane.oldest_arrival,), (queue.run_s, lane.oldest_arrival)
            if not alone:
                second = lane.oldest_arrival // TOGETHER_S
                waited = snapshot.now - second * TOGETHER_S
                turns = ((-waited * weights[second], -queue.run_s),) * 2
            for rank, selector, count in _ranked(lane, priority, first, late, risk, turns):
                if rank[0] and queue.model in others_do:
                    rank = (*rank[:2], rank[2] + _BEHIND, *rank[3:])
                order.append((rank, len(order), selector, count, queue, lane))
    order.sort()
    runs: list[Run] = []
    left: dict[tuple[str, str], int] = {}
    for rank, _, selector, count, queue, lane in order:
        if lane.alone:
            if not view.busy and not runs:
                return [_run(snapshot, queue, lane, selector)]
            if rank[0] == 0:
                break
            continue
        key = (queue.name, lane.name)
        can = min(count, left.get(key, lane.waiting), free - len(runs))
        if can > 0:
            left[key] = left.get(key, lane.waiting) - can
            runs.extend([_run(snapshot, queue, lane, selector)] * can)
            if len(runs) == free:
                break
    return runs


def _ahead_s(snapshot: Snapshot, queues: Iterable[QueueView]) -> float:
    """How long the work on the hot models takes, the other GPUs that hold them doing their part."""
    offered = snapshot.others.supply
    power = own_power(snapshot.gpu) + sum(
        [offered[m].power for m in dict.fromkeys([q.model for q in queues]) if m in offered]
    )
    return sum([q.demand.work for q in queues]) / power


def _run(snapshot: Snapshot, queue: QueueView, lane: Lane, selector: Selector) -> Run:
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
    return Run(snapshot.gpu.name, queue.name, lane.name, selector, queue.model, reason)


def hot_suspects(view: GpuView, queues: Iterable[QueueView]) -> list[tuple[QueueView, Lane]]:
    """Lanes of suspects whose model is resident: they wait for this GPU to be empty."""
    hot = {r.model for r in view.residents}
    return [(q, lane) for q in queues if q.model in hot for lane in q.lanes if lane.alone]
