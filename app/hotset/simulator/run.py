"""`simulate`: one workload, one fleet, one policy, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from hotset.errors import UsageError, did_you_mean
from hotset.fleet import Fleet
from hotset.scheduling import OBJECTIVES, Objective, Options
from hotset.simulator.baselines import Fifo, HotFirst, RoundRobin, Static
from hotset.simulator.devices import Outage
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.live_policy import LivePolicy
from hotset.simulator.result import Result
from hotset.simulator.world import Driver, Progress, Trace, World, new_result

Policy = Literal["hotset", "fifo", "round-robin", "hot-first", "static", "unlimited"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


def simulate(
    fleet: Fleet,
    jobs: Iterable[SimJob],
    policy: Policy = "hotset",
    objective: Objective = "balanced",
    trace: Trace | None = None,
    progress: Progress | None = None,
    outages: Sequence[Outage] = (),
) -> Result:
    """Run the jobs (in order of arrival, as `read_jobs` gives them) and return the figures.

    Jobs may come from an iterator: none is kept once it has finished. `outages`: when which GPUs are away.
    `trace` gets each event of formats.md as a mapping, in order; `progress` gets (finished, all) about a hundred
    times. Raises UsageError for an unknown policy or objective, InvalidFleet if a model that is asked for fits
    nowhere. The same arguments give the same run; only the figures of wall time differ.
    """
    if objective not in OBJECTIVES:
        raise UsageError(f"There is no objective {objective!r}.", remedy=_choose(objective, OBJECTIVES))
    result = new_result(policy, fleet)
    if policy == "static" and not isinstance(jobs, Sequence):
        jobs = tuple(jobs)  # it needs to know them all
    world = World(
        fleet,
        jobs,
        _driver(policy, fleet, result, Options(objective), jobs),
        result,
        unlimited=policy == "unlimited",
        outages=outages,
        trace=trace,
        progress=progress,
    )
    world.run()
    return result


def _driver(policy: str, fleet: Fleet, result: Result, options: Options, jobs: Iterable[SimJob] = ()) -> Driver:
    if policy == "hotset":
        return LivePolicy(fleet, result, options)
    if policy == "round-robin":
        return RoundRobin(fleet, result)
    if policy == "hot-first":
        return HotFirst(fleet, result)
    if policy == "static":
        return Static(fleet, result, jobs)
    if policy in ("fifo", "unlimited"):
        return Fifo(fleet, result)
    raise UsageError(f"There is no policy {policy!r}.", remedy=_choose(policy, POLICIES))


def _choose(word: str, known: Sequence[str]) -> str:
    hint = did_you_mean(word, known, "")
    return f"{hint if hint.startswith('Did') else ''} Choose one of {', '.join(known)}.".strip()
