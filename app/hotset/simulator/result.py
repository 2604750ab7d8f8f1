"""The figures of one simulation, kept as it runs, and its report (the object of `hotset simulate --json`)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import Any

#: Sums of floats: a start this little after its deadline is in time.
_EPSILON_S = 1e-9


#: Figures are kept one by one up to so many, then as a histogram: memory does not grow with the jobs.
EXACT = 100_000
#: Width of a bucket: percentiles from the histogram are within half of it (0.25 %).
_GROWTH = log(1.005)


class Figures:
    """Many figures ≥ 0 in little memory. Count, mean and maximum are exact; percentiles are up to `EXACT` figures,
    and beyond that within 0.25 % (a histogram with buckets that grow by 0.5 %: Masson et al. 2019, DDSketch)."""

    __slots__ = ("_buckets", "_exact", "count", "maximum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0
        self._exact: array[float] = array("d")
        self._buckets: dict[int, int] = {}

    def add(self, figure: float) -> None:
        self.count += 1
        self.total += figure
        if figure > self.maximum:
            self.maximum = figure
        self._exact.append(figure)
        if len(self._exact) >= EXACT:
            self._fold()

    def _fold(self) -> None:
        buckets = self._buckets
        for figure in self._exact:
            bucket = round(log(figure) / _GROWTH) if figure > 1e-9 else _ZERO
            buckets[bucket] = buckets.get(bucket, 0) + 1
        del self._exact[:]

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentiles(self, parts: Sequence[float]) -> list[float]:
        """For each part: the smallest figure that more than that part of the figures does not exceed; 0 of none."""
        return percentiles([self], parts)


#: The bucket of nothing.
_ZERO = -(10**9)


def percentiles(several: Iterable[Figures], parts: Sequence[float]) -> list[float]:
    """Of all their figures together."""
    counted: dict[int, int] = {}
    exact: list[float] = []
    for figures in several:
        if figures.count > len(figures._exact):
            figures._fold()
            for bucket, count in figures._buckets.items():
                counted[bucket] = counted.get(bucket, 0) + count
        else:
            exact.extend(figures._exact)
    if not counted:
        exact.sort()
        return [percentile(exact, part) for part in parts]
    for figure in exact:
        bucket = round(log(figure) / _GROWTH) if figure > 1e-9 else _ZERO
        counted[bucket] = counted.get(bucket, 0) + 1
    ordered, total = sorted(counted.items()), sum(counted.values())
    return [_in_buckets(ordered, min(total - 1, int(part * total))) for part in parts]


def _in_buckets(ordered: Sequence[tuple[int, int]], rank: int) -> float:
    for bucket, count in ordered:
        rank -= count
        if rank < 0:
            return exp(bucket * _GROWTH) if bucket != _ZERO else 0.0
    return 0.0


@dataclass(slots=True)
class QueueResult:
    """Waits are model seconds from arrival to start."""

    waits: Figures = field(default_factory=Figures)
    deadline_missed: int = 0


@dataclass(slots=True)
class Result:
    """Slot seconds count only while there was work, waiting or running. `wall_s` is real time, `decision_ns` the
    processor's, the rest model time."""

    policy: str
    max_wait_s: float
    queues: dict[str, QueueResult]
    swaps: int = 0
    max_wait_violations: int = 0
    first_arrival_s: float = 0.0
    last_finish_s: float = 0.0
    work_slot_s: float = 0.0
    busy_slot_s: float = 0.0
    loading_slot_s: float = 0.0
    draining_slot_s: float = 0.0
    decision_ns: Figures = field(default_factory=Figures)
    wall_s: float = 0.0

    def started(self, queue: str, wait_s: float, deadline_s: float) -> None:
        of_queue = self.queues[queue]
        of_queue.waits.add(wait_s)
        if wait_s > deadline_s + _EPSILON_S:
            of_queue.deadline_missed += 1
        if wait_s > self.max_wait_s + _EPSILON_S:
            self.max_wait_violations += 1

    @property
    def jobs(self) -> int:
        return sum(q.waits.count for q in self.queues.values())

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last finish."""
        return self.last_finish_s - self.first_arrival_s

    @property
    def deadline_missed(self) -> int:
        return sum(q.deadline_missed for q in self.queues.values())

    def report(self) -> dict[str, Any]:
        """The object that formats.md describes. Without jobs all figures are 0."""
        jobs = self.jobs
        work = self.work_slot_s
        decision_p50, decision_p99 = self.decision_ns.percentiles((0.5, 0.99))
        return {
            "policy": self.policy,
            "jobs": jobs,
            "makespan_s": self.makespan_s,
            "throughput_per_h": _ratio(jobs * 3600.0, self.makespan_s),
            "goodput": _ratio(self.busy_slot_s, work),
            "swaps": self.swaps,
            "swaps_per_1000": _ratio(self.swaps * 1000.0, jobs),
            "load_share": _ratio(self.loading_slot_s, work),
            "drain_share": _ratio(self.draining_slot_s, work),
            "wait_s": _waits([q.waits for q in self.queues.values()]),
            "queues": {
                name: {
                    "jobs": q.waits.count,
                    "wait_s": _waits([q.waits]),
                    "deadline_missed": q.deadline_missed,
                }
                for name, q in self.queues.items()
            },
            "deadline_missed": self.deadline_missed,
            "max_wait_violations": self.max_wait_violations,
            "decisions": self.decision_ns.count,
            "decision_us": {
                "p50": decision_p50 / 1000,
                "p99": decision_p99 / 1000,
            },
            "simulated_jobs_per_s": _ratio(jobs, self.wall_s),
        }


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest figure that more than that part of the ascending figures does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _waits(several: Sequence[Figures]) -> dict[str, float]:
    p50, p95, p99 = percentiles(several, (0.5, 0.95, 0.99))
    return {
        "mean": _ratio(sum(f.total for f in several), sum(f.count for f in several)),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": max((f.maximum for f in several), default=0.0),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
