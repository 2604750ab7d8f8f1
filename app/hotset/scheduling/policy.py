"""`decide`: the whole policy on one screen. The rules are in `rules`."""

from __future__ import annotations

from collections.abc import Mapping

from hotset.scheduling import rules
from hotset.scheduling.costs import Demand, demands, run_times
from hotset.scheduling.decisions import Decision, Load, Wait
from hotset.scheduling.options import Options
from hotset.scheduling.snapshot import GpuView, Snapshot, Switch

BALANCED = Options()


def decide(snapshot: Snapshot, gpu: str, options: Options = BALANCED) -> tuple[Decision, ...]:
    """What the GPU of that name should do now: at most one Load, then Runs for its free slots, or one Wait.

    While a switch is under way the answer holds no Load, and no Run on a victim. KeyError: no such GPU.
    """
    view = _view(snapshot, gpu)
    if view.alone:
        return (Wait(gpu, "A suspect runs alone on this GPU."),)
    switch = view.switch
    if switch is not None and not view.free_slots:
        return (_wait_for_switch(snapshot, view, switch),)
    waiting = demands(snapshot.queues)
    if not waiting:
        return (Wait(gpu, "No job waits."),)
    load: Load | None = None
    cold: list[rules.Candidate] = []
    if switch is None and any(view.resident(model) is None for model in waiting):
        cold = rules.candidates(snapshot, view, waiting, run_times(snapshot.queues))
        if cold:
            load = rules.spare_load(snapshot, view, cold, waiting) or rules.forced_load(
                snapshot, view, cold, waiting, options
            )
    closing = switch.victims if switch is not None else load.victims if load is not None else ()
    answer: list[Decision] = [load] if load is not None else []
    answer.extend(rules.grants(snapshot, view, closing))
    return tuple(answer) or (_wait(snapshot, view, waiting, cold, options),)


def _view(snapshot: Snapshot, gpu: str) -> GpuView:
    for view in snapshot.gpus:
        if view.name == gpu:
            return view
    raise KeyError(gpu)


def _wait(
    snapshot: Snapshot,
    view: GpuView,
    waiting: Mapping[str, Demand],
    cold: list[rules.Candidate],
    options: Options,
) -> Wait:
    """Why nothing is done, and when time alone would change that."""
    if view.switch is not None:
        return _wait_for_switch(snapshot, view, view.switch)
    if not view.free_slots:
        return Wait(view.name, f"All {view.slots} slots are taken.")  # a finish comes before anything can start
    until = _next_look(snapshot, view, waiting, cold, options)
    return Wait(view.name, _why_idle(snapshot, view, waiting, cold), until)


def _why_idle(snapshot: Snapshot, view: GpuView, waiting: Mapping[str, Demand], cold: list[rules.Candidate]) -> str:
    """Slots are free and jobs wait: which of the few good reasons is it?"""
    for queue, lane in rules.hot_suspects(view, snapshot.queues):
        if rules.overdue(snapshot, lane.oldest_arrival):
            return f"The GPU empties for an overdue suspect of {queue.name}: {view.busy} still run."
        return f"A suspect of {queue.name} waits until the GPU is empty: {view.busy} still run."
    if cold:
        running = " and ".join(r.model for r in view.residents if r.running and r.model in cold[0].victims)
        return f"{cold[0].demand.model} is loaded when {running or 'the hot set'} has nothing left to run."
    for model in waiting:
        known = snapshot.models.get(model)
        if view.resident(model) is None and known is None:
            return f"{model} waits, but its size is not known."
        if view.resident(model) is None and known is not None and known.size_mb > view.vram_mb:
            return f"{model} needs {known.size_mb:.0f} MiB of VRAM; {view.name} has {view.vram_mb:.0f} MiB."
    return "Other GPUs already serve what waits here."


def _wait_for_switch(snapshot: Snapshot, view: GpuView, switch: Switch) -> Wait:
    draining = [v for v in switch.victims if view.resident(v) is not None]
    doing = f"drains {' and '.join(draining)} for" if draining else "loads"
    return Wait(view.name, f"The GPU {doing} {switch.model} since {snapshot.now - switch.since:.1f} s.")


def _next_look(
    snapshot: Snapshot,
    view: GpuView,
    waiting: Mapping[str, Demand],
    cold: list[rules.Candidate],
    options: Options,
) -> float | None:
    """The first moment at which a cold model may force a switch, if nothing else happens before."""
    residency = rules.residency_s(snapshot, waiting, options)
    moments = []
    for candidate in cold:
        wanted = [candidate.demand.oldest + rules.OVERDUE * snapshot.max_wait_s]
        urgent = rules.urgent_at(candidate)
        if urgent is not None:
            wanted.append(urgent)
        moments.append(max(min(wanted), rules.rested_at(view, candidate, residency)))
    return min((m for m in moments if m > snapshot.now), default=None)
