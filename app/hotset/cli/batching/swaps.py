"""Swaps that the fleet made since a moment, and what a plain queue would have needed for the same jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hotset.broker import GpuState
from hotset.errors import HotsetError
from hotset.fleet import Fleet
from hotset.simulator import SimJob, simulate

_LOOK_S = 1.0
#: More are not simulated: the figure is scaled up from the first so many.
_MOST = 5000


class SwapCounter:
    """Adds up what the GPUs' counters gain; one that begins anew (a worker's restart) counts from zero."""

    def __init__(self, read: Callable[[], Mapping[str, GpuState]]) -> None:
        self._read = read
        self._last: dict[str, tuple[str, int]] = {}
        self._looked = float("-inf")
        self.count: int | None = None

    def look(self) -> int | None:
        """Swaps since the first look, of all GPUs; None before it. At most once a second the broker is asked."""
        if time.monotonic() - self._looked < _LOOK_S:
            return self.count
        self._looked = time.monotonic()
        found = self._read()
        if self.count is None:
            self.count = 0
            self._last = {name: (gpu.worker, gpu.swaps) for name, gpu in found.items()}
        for name, gpu in found.items():
            worker, before = self._last.get(name, ("", 0))
            self.count += gpu.swaps - (before if worker == gpu.worker else 0)
            self._last[name] = (gpu.worker, gpu.swaps)
        return self.count


def fifo_swaps(fleet: Fleet, queues: Sequence[str]) -> int | None:
    """Swaps of a first-come-first-served queue for jobs of these queues, all there at once, in this order.

    Simulated with the fleet file's sizes, load times and run estimates. None: a model fits nowhere.
    """
    if not queues:
        return 0
    jobs = [
        SimJob(str(i), 0.0, name, fleet.queues[name].run_s, fleet.queues[name].deadline_s)
        for i, name in enumerate(queues[:_MOST])
    ]
    try:
        return round(simulate(fleet, jobs, "fifo").swaps * len(queues) / len(jobs))
    except HotsetError:
        return None
