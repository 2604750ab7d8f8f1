"""`decide`: the whole policy on one screen. The rules are in `rules`."""

from __future__ import annotations

from collections.abc import Mapping

from hotset.scheduling import rules
from hotset.scheduling.costs import Demand, demands, run_times
from hotset.scheduling.decisions import Decision, Load, Wait
from hotset.scheduling.options import Options
from hotset.scheduling.snapshot import GpuView, Snapshot

BALANCED = Options()


def decide(snapshot: Snapshot, gpu: str, options: Options = BALANCED) -> tuple[Decision, ...]:
    """What the GPU of that name should do now: at most one Load, then Runs for its free slots, or one Wait.

    While a switch is under way the answer holds no Load, and no Run on a victim. KeyError: no such GPU.
    """
    view = _view(snapshot, gpu)
    if view.alone:
        return (Wait(gpu, "A suspect runs alone on this GPU."),)
    waiting = demands(snapshot.queues)
    if not waiting:
        return (Wait(gpu, "No job waits."),)
    switch = view.switch
    load: Load | None = None
    cold: list[rules.Candidate] = []
    if switch is None:
        runs = run_times(snapshot.queues)
        cold = rules.candidates(snapshot, view, waiting, runs)
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
    switch = view.switch
    if switch is not None:
        gone = [v for v in switch.victims if view.resident(v) is not None]
        doing = f"drains {' and '.join(gone)} for" if gone else "loads"
        return Wait(view.name, f"The GPU {doing} {switch.model} since {snapshot.now - switch.since:.1f} s.")
    until = _next_look(snapshot, view, waiting, cold, options)
    if not view.free_slots:
        return Wait(view.name, f"All {view.slots} slots are taken.", until)
    suspects = rules.held_for_suspect(snapshot, view, ())
    if suspects is not None:
        return Wait(view.name, f"The GPU empties for an overdue suspect of {suspects.name}.", until)
    if all(_never(snapshot, view, d.model) for d in waiting.values()):
        return Wait(view.name, _unfit(snapshot, view, next(iter(waiting))))
    return Wait(view.name, "Other GPUs already serve what waits here.", until)


def _next_look(
    snapshot: Snapshot,
    view: GpuView,
    waiting: Mapping[str, Demand],
    cold: list[rules.Candidate],
    options: Options,
) -> float | None:
    """The first moment at which a cold model may force a switch, if nothing else happens before."""
    residency = rules.residency_s(view, waiting, options)
    moments = []
    for candidate in cold:
        wanted = [candidate.demand.oldest + rules.OVERDUE * snapshot.max_wait_s]
        urgent = rules.urgent_at(candidate)
        if urgent is not None:
            wanted.append(urgent)
        moments.append(max(min(wanted), rules.rested_at(view, candidate, residency)))
    return min((m for m in moments if m > snapshot.now), default=None)


def _never(snapshot: Snapshot, view: GpuView, model: str) -> bool:
    known = snapshot.models.get(model)
    return view.resident(model) is None and (known is None or known.size_mb > view.vram_mb)


def _unfit(snapshot: Snapshot, view: GpuView, model: str) -> str:
    known = snapshot.models.get(model)
    if known is None:
        return f"{model} waits, but its size is not known."
    return f"{model} waits, but needs {known.size_mb:.0f} MiB of VRAM and {view.name} has {view.vram_mb:.0f} MiB."
