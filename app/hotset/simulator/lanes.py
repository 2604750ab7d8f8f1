"""A lane in memory: the reference for the order in which jobs of one queue and priority are taken.

The live worker does the same in Redis with two sorted sets (by arrival, by deadline); a conformance test runs both.
Ties go to the smaller id, byte by byte, as in a sorted set.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort

from hotset.scheduling import Selector


class Lane:
    """Jobs that wait, each with its arrival and its deadline as moments of one clock (model seconds).

    Adding and removing cost O(log n) comparisons and a short memory move; `pick` and the figures O(log n).
    """

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[float, float]] = {}
        self._by_arrival: list[tuple[float, str]] = []  # a heap; what was removed stays until it comes up
        self._by_deadline: list[tuple[float, str]] = []  # sorted, exact

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def add(self, job: str, arrival: float, deadline: float) -> None:
        """ValueError if the job is in the lane already."""
        if job in self._jobs:
            raise ValueError(f"Job {job} is in this lane already.")
        self._jobs[job] = (arrival, deadline)
        heapq.heappush(self._by_arrival, (arrival, job))
        insort(self._by_deadline, (deadline, job))

    def remove(self, job: str) -> None:
        """KeyError if the job is not in the lane."""
        _, deadline = self._jobs.pop(job)
        del self._by_deadline[bisect_left(self._by_deadline, (deadline, job))]
        self._forget_removed()

    def pick(self, selector: Selector, now: float) -> str | None:
        """The job that a grant would take, left in the lane; None if the lane is empty.

        `overdue`, `oldest`: the earliest arrival. `savable`: the earliest deadline ≥ now; none left: the earliest
        arrival.
        """
        if selector == "savable":
            at = bisect_left(self._by_deadline, (now,))
            if at < len(self._by_deadline):
                return self._by_deadline[at][1]
        return self._by_arrival[0][1] if self._by_arrival else None

    def oldest_arrival(self) -> float | None:
        """The earliest arrival; None if the lane is empty."""
        return self._by_arrival[0][0] if self._by_arrival else None

    def savable(self, now: float) -> tuple[int, float | None]:
        """How many deadlines are ≥ now, and the earliest of them."""
        at = bisect_left(self._by_deadline, (now,))
        count = len(self._by_deadline) - at
        return count, self._by_deadline[at][0] if count else None

    def _forget_removed(self) -> None:
        heap, jobs = self._by_arrival, self._jobs
        while heap and ((known := jobs.get(heap[0][1])) is None or known[0] != heap[0][0]):
            heapq.heappop(heap)
