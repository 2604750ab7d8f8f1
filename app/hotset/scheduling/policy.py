"""`decide`: the whole policy on one screen. The rules: `run`, `loads`, `victims`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hotset.scheduling.costs import demands
from hotset.scheduling.decisions import Decision, GiveUp, Load, Wait
from hotset.scheduling.loads import (
    STALE_FORCED,
    STALE_SHORTEST_S,
    Candidate,
    backlog_s,
    candidates,
    cold_demands,
    forced_load,
    may_load,
    residency_s,
    rested_at,
    spare_load,
    urgent_at,
)
from hotset.scheduling.options import Options
from hotset.scheduling.run import OVERDUE, due_since, grants, hot_suspects, overdue_since
from hotset.scheduling.snapshot import Demand, Snapshot, Switch

BALANCED = Options()


def decide(snapshot: Snapshot, options: Options = BALANCED) -> tuple[Decision, ...]:
    """What the snapshot's GPU should do now: at most one Load, then Runs for its free slots, or one Wait.

    While a switch is under way the answer holds no Load, and no Run on a victim. A switch that drains for a model that
    nobody waits for any more (paused, cancelled, served elsewhere) is given up first, and the rest decided without it.
    """
    view = snapshot.gpu
    if view.alone:
        return (Wait(view.name, "A suspect runs alone on this GPU."),)
    switch = view.switch
    if switch is not None and _drains_for_nobody(snapshot, switch):
        without = replace(snapshot, gpu=replace(view, switch=None))
        return (
            GiveUp(view.name, switch.model, f"No job waits for {switch.model} any more."),
            *decide(without, options),
        )
    if switch is not None and not view.free_slots:
        return (_wait_for_switch(snapshot, switch),)
    waiting = demands(snapshot.queues) if snapshot.demands is None else snapshot.demands
    if not waiting:
        return (Wait(view.name, "No job waits."),)
    backlog = backlog_s(snapshot, waiting)
    overdue = overdue_since(snapshot, backlog, options)
    load: Load | None = None
    cold = cold_demands(snapshot, waiting) if switch is None else []
    if cold and may_load(snapshot, cold, waiting, overdue, backlog, options):
        closely = candidates(snapshot, cold, waiting)
        load = spare_load(snapshot, closely, waiting, overdue, backlog) or forced_load(
            snapshot, closely, waiting, overdue, backlog, options
        )
    closing = switch.victims if switch is not None else load.victims if load is not None else ()
    runs = grants(snapshot, closing, overdue, backlog, waiting)
    if load is not None:
        return (load, *runs)
    return tuple(runs) or (_wait(snapshot, waiting, candidates(snapshot, cold, waiting), overdue, backlog, options),)


def _drains_for_nobody(snapshot: Snapshot, switch: Switch) -> bool:
    drains = any(r.running and r.model in switch.victims for r in snapshot.gpu.residents)
    return drains and not any(queue.model == switch.model for queue in snapshot.queues)


def _wait(
    snapshot: Snapshot,
    waiting: Mapping[str, Demand],
    cold: list[Candidate],
    overdue: float,
    backlog: float,
    options: Options,
) -> Wait:
    """Why nothing is done, and when time alone would change that."""
    view = snapshot.gpu
    if view.switch is not None:
        return _wait_for_switch(snapshot, view.switch)
    if not view.free_slots:
        return Wait(view.name, f"All {view.slots} slots are taken.")  # a finish comes before anything can start
    until = _next_look(snapshot, cold, overdue, backlog, options)
    return Wait(view.name, _why_idle(snapshot, waiting, cold, overdue), until)


def _why_idle(snapshot: Snapshot, waiting: Mapping[str, Demand], cold: list[Candidate], overdue: float) -> str:
    """Slots are free and jobs wait: which of the few good reasons is it?"""
    view = snapshot.gpu
    for queue, lane in hot_suspects(view, snapshot.queues):
        if lane.oldest_arrival <= due_since(snapshot, overdue):
            return f"The GPU empties for a suspect of {queue.name}: {view.busy} still run."
        return f"A suspect of {queue.name} waits until the GPU is empty: {view.busy} still run."
    if cold:
        first, victims = cold[0].demand.model, cold[0].victims
        running = " and ".join(r.model for r in view.residents if r.running and r.model in victims)
        if first in snapshot.others.supply and not running and not any(v in waiting for v in victims):
            return f"Other GPUs hold {first} and soon start what waits for it."
        return f"{first} is loaded when {running or 'the hot set'} has nothing left to run."
    model = next(iter(waiting))
    known = snapshot.models.get(model)
    if known is None:
        return f"{model} waits, but its size is not known."
    if known.size_mb > view.vram_mb:
        return f"{model} needs {known.size_mb:.0f} MiB of VRAM; {view.name} has {view.vram_mb:.0f} MiB."
    return "Other GPUs already serve what waits here."


def _wait_for_switch(snapshot: Snapshot, switch: Switch) -> Wait:
    view = snapshot.gpu
    draining = [v for v in switch.victims if view.resident(v) is not None]
    doing = f"drains {' and '.join(draining)} for" if draining else "loads"
    return Wait(view.name, f"The GPU {doing} {switch.model} since {snapshot.now - switch.since:.1f} s.")


def _next_look(
    snapshot: Snapshot, cold: list[Candidate], overdue: float, backlog: float, options: Options
) -> float | None:
    """The first moment at which a cold model may force a switch, if nothing else happens before."""
    residency = residency_s(backlog, options)
    stale_s = max(STALE_SHORTEST_S, STALE_FORCED * backlog)
    moments = []
    for candidate in cold:
        oldest = candidate.demand.oldest
        wanted = min(
            oldest + OVERDUE * snapshot.max_wait_s,
            oldest + stale_s,
            urgent_at(candidate.demand, candidate.load_s, candidate.drain_s),
        )
        moments.append(max(wanted, rested_at(snapshot.gpu, candidate, residency, overdue)))
    return min((m for m in moments if m > snapshot.now), default=None)
