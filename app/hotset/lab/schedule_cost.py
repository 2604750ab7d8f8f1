"""What scheduling costs: microseconds a decision, simulated jobs a second, memory, beside the machine's own speed.

Seconds are those of the processor: what other programs take from this one does not count.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import process_time

from hotset.fleet import Fleet
from hotset.lab.schedule_cases import regimes
from hotset.scheduling import Options
from hotset.simulator import SimJob, simulate
from hotset.simulator.fleets import draw_fleet
from hotset.simulator.live_policy import LivePolicy
from hotset.simulator.workloads import Workload, draw_jobs, zipf_mix
from hotset.simulator.world import World, new_result

_LOOPS = 200_000
_WAITING = 1_000_000
#: Of a million that wait, so many are run: enough decisions for a 99th percentile.
_LOOKED_AT = 20_000
_LONG = 40_000
_MILLION = 1_000_000
#: Minutes of the processor that a million jobs on 1000 GPUs may take.
_MINUTES = 10.0

Measured = tuple[str, float, float, bool]


def measure(seed: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """(figure, value, target, at most). `jobs` scales the long runs: 1500 is the usual."""
    scale = jobs / 1500
    classic = regimes()[0][1]
    progress("1 × 3, one decision")
    drawn = tuple(draw_jobs(classic, Workload("poisson", 0.85, jobs, seed)))
    began = process_time()
    report = simulate(classic, drawn).report()
    rate = jobs / (process_time() - began)
    yield "decision of 1 GPU p50 us", report["decision_us"]["p50"], 100.0, True
    yield "simulated jobs per s on 1 GPU", rate, 5000.0, False
    fleet = draw_fleet(100, 50, seed)
    mix = zipf_mix(fleet, seed)
    waiting = max(1000, round(_WAITING * scale))
    progress(f"100 × 50, {waiting:,} jobs waiting")
    yield (
        "decision of 100 GPUs with a million waiting p99 us",
        _decision_p99(fleet, draw_jobs(fleet, Workload("backlog", 1.0, waiting, seed, mix)), round(_LOOKED_AT * scale)),
        1000.0,
        True,
    )
    large = draw_fleet(1000, 50, seed)
    long = max(1000, round(_LONG * scale))
    progress(f"1000 × 50, {long:,} jobs")
    rate, grown = _long_run(large, Workload("poisson", 0.7, long, seed, zipf_mix(large, seed)), progress)
    yield "simulated jobs per s on 1000 GPUs", rate, 5000.0, False
    yield "memory grown in the second half of a long run MiB", grown, 20.0, True


def million(seed: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """As `measure`, of a million jobs on 1000 GPUs at a load of 0.85 (`jobs` scales them): takes minutes."""
    fleet = draw_fleet(1000, 50, seed)
    many = max(1000, round(_MILLION * jobs / 1500))
    rate, grown = _long_run(fleet, Workload("poisson", 0.85, many, seed, zipf_mix(fleet, seed)), progress)
    yield "simulated jobs per s", rate, 5000.0, False
    yield "minutes of the processor for a million jobs", _MILLION / rate / 60, _MINUTES, True
    yield "memory grown in the second half MiB", grown, 20.0, True
    yield "most memory of the process MiB", getrusage(RUSAGE_SELF).ru_maxrss / 1024, 300.0, True


def loops_per_s() -> float:
    """A fixed pure-Python loop (a dictionary, floats, a call): how fast this machine is just now; median of five."""
    return median(_loop() for _ in range(5))


def _loop() -> float:
    began = process_time()
    kept: dict[int, float] = {}
    total = 0.0
    for i in range(_LOOPS):
        kept[i & 1023] = total
        total += abs(kept.get(i >> 3 & 1023, 1.0) - i) * 0.5
    return _LOOPS / (process_time() - began)


class _Enough(Exception):
    pass


def _decision_p99(fleet: Fleet, jobs: Iterator[SimJob], enough: int) -> float:
    """Microseconds, over the decisions that start so many jobs while all the others wait."""
    result = new_result("hotset", fleet)
    finished = 0

    def stop(event: object) -> None:
        nonlocal finished
        finished += isinstance(event, dict) and event["event"] == "finish"
        if finished >= enough:
            raise _Enough

    world = World(fleet, jobs, LivePolicy(fleet, result, Options()), result, trace=stop)
    with contextlib.suppress(_Enough):
        world.run()
    return result.decision_ns.percentiles((0.99,))[0] / 1000


def _long_run(fleet: Fleet, workload: Workload, progress: Callable[[str], None]) -> tuple[float, float]:
    """(simulated jobs a second, drawing them included, MiB by which this process grew in the second half)."""
    half = 0.0

    def counted() -> Iterator[SimJob]:
        nonlocal half
        for number, job in enumerate(draw_jobs(fleet, workload)):
            if number == workload.jobs // 2:
                gc.collect()
                half = _resident_mb()
            yield job

    began = process_time()
    simulate(fleet, counted(), progress=lambda done, _: progress(f"{done:,} of {workload.jobs:,} jobs"))
    rate = workload.jobs / (process_time() - began)
    gc.collect()
    return rate, max(0.0, _resident_mb() - half)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
