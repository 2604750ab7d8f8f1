"""The figures of one simulation, kept as it runs, and its report (the object of `hotset simulate --json`)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Sums of floats: a start this little after its deadline is in time.
_EPSILON_S = 1e-9


@dataclass(slots=True)
class QueueResult:
    """Waits are model seconds from arrival to start, in order of start."""

    waits: array[float] = field(default_factory=lambda: array("d"))
    deadline_missed: int = 0


@dataclass(slots=True)
class Result:
    """Slot seconds count only while there was work, waiting or running. `wall_s` is real time, the rest model time."""

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
    decision_ns: array[int] = field(default_factory=lambda: array("q"))
    wall_s: float = 0.0

    def started(self, queue: str, wait_s: float, deadline_s: float) -> None:
        of_queue = self.queues[queue]
        of_queue.waits.append(wait_s)
        if wait_s > deadline_s + _EPSILON_S:
            of_queue.deadline_missed += 1
        if wait_s > self.max_wait_s + _EPSILON_S:
            self.max_wait_violations += 1

    @property
    def jobs(self) -> int:
        return sum(len(q.waits) for q in self.queues.values())

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
        waits = sorted(wait for q in self.queues.values() for wait in q.waits)
        decisions = sorted(self.decision_ns)
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
            "wait_s": _waits(waits),
            "queues": {
                name: {
                    "jobs": len(q.waits),
                    "wait_s": _waits(sorted(q.waits)),
                    "deadline_missed": q.deadline_missed,
                }
                for name, q in self.queues.items()
            },
            "deadline_missed": self.deadline_missed,
            "max_wait_violations": self.max_wait_violations,
            "decisions": len(decisions),
            "decision_us": {
                "p50": percentile(decisions, 0.5) / 1000,
                "p99": percentile(decisions, 0.99) / 1000,
            },
            "simulated_jobs_per_s": _ratio(jobs, self.wall_s),
        }


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest figure that more than that part of the ascending figures does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _waits(ordered: Sequence[float]) -> dict[str, float]:
    return {
        "mean": sum(ordered) / len(ordered) if ordered else 0.0,
        "p50": percentile(ordered, 0.5),
        "p95": percentile(ordered, 0.95),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1] if ordered else 0.0,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
