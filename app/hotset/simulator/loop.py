"""A closed loop in the virtual world: a finish brings the next arrival of the agent that got its answer."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import cast

from hotset.fleet import Fleet
from hotset.scheduling import Objective, Options
from hotset.simulator.closed_loop import ClosedLoop
from hotset.simulator.devices import Device
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.result import Result
from hotset.simulator.run import Policy
from hotset.simulator.run import _driver as driver
from hotset.simulator.world import Driver, Progress, Trace, World, new_result

_NEVER = float("inf")


def simulate_loop(
    fleet: Fleet,
    loop: ClosedLoop,
    policy: Policy = "hotset",
    objective: Objective = "balanced",
    trace: Trace | None = None,
    progress: Progress | None = None,
) -> Result:
    """As `simulate`, with agents in place of jobs; `loop.answers` holds who got how much."""
    result = new_result(policy, fleet)
    head = _Head(loop)
    # A static partition wants to know the load beforehand: each agent's first job is a fair sample.
    sample = [job for _, _, job in head.thinking]
    world = _LoopWorld(
        fleet,
        head,
        loop,
        driver(policy, fleet, result, Options(objective), sample),
        result,
        unlimited=policy == "unlimited",
        trace=trace,
        progress=progress,
    )
    world.run()
    return result


class _Head:
    """Stands in the place of the next job: the world asks when it arrives, and that may yet change."""

    def __init__(self, loop: ClosedLoop) -> None:
        self.thinking = [(job.arrive_s, number, job) for number, job in enumerate(loop)]
        self.asked = len(self.thinking)  # jobs that have not finished, and a number for the next
        self.open = self.asked
        heapq.heapify(self.thinking)

    @property
    def arrive_s(self) -> float:
        if self.thinking:
            return self.thinking[0][0]
        return _NEVER if self.open else 0.0  # at once: it tells the world that nobody comes any more

    def __iter__(self) -> Iterator[_Head]:
        while self.open or self.thinking:
            yield self


class _LoopWorld(World):
    def __init__(
        self,
        fleet: Fleet,
        head: _Head,
        loop: ClosedLoop,
        driver: Driver,
        result: Result,
        *,
        unlimited: bool,
        trace: Trace | None,
        progress: Progress | None,
    ) -> None:
        self._head, self._loop = head, loop
        # The head is no job, but the world asks of the next one only when it arrives.
        jobs = cast("Iterable[SimJob]", head)
        super().__init__(fleet, jobs, driver, result, unlimited=unlimited, trace=trace, progress=progress)

    def _arrive(self, job: SimJob) -> None:
        if self._head.thinking:
            super()._arrive(heapq.heappop(self._head.thinking)[2])

    def _finish(self, device: Device, job: SimJob) -> None:
        super()._finish(device, job)
        head = self._head
        following = self._loop.finished(job, self.now)
        if following is None:
            head.open -= 1
        else:
            head.asked += 1
            heapq.heappush(head.thinking, (following.arrive_s, head.asked, following))
