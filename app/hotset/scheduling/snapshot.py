"""What the policy sees: one moment of queues and GPUs, aggregated, as frozen data.

All times are model seconds (wall seconds ÷ scale) on one clock; the policy never reads a clock itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotset.fleet import Model


@dataclass(frozen=True, slots=True)
class Lane:
    """Waiting jobs of one queue that share a priority, seen from outside.

    `priority`: 0 low, 1 normal, 2 high, 3 urgent. `oldest_arrival`: arrival of the job that waits longest.
    `savable`: how many can still meet their deadline (deadline ≥ now); `next_deadline`: the earliest of those.
    `alone`: suspects, whose last attempt lost its lease: such a job runs with no neighbour.
    """

    name: str
    priority: int
    waiting: int
    oldest_arrival: float
    savable: int = 0
    next_deadline: float | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class QueueView:
    """`run_s`: the expected run time of one of its jobs on a GPU of speed 1. `lanes` holds only lanes with jobs."""

    name: str
    model: str
    run_s: float
    lanes: tuple[Lane, ...] = ()

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model. `running` counts requests granted or in flight on it; `since`: when it was loaded."""

    model: str
    size_mb: float
    since: float
    running: int = 0


@dataclass(frozen=True, slots=True)
class Switch:
    """A load that has been decided: it drains and evicts `victims`, then loads `model`. The policy never revokes it."""

    model: str
    victims: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class GpuView:
    """`busy`: slots taken (granted, running or not yet acknowledged). `alone`: a suspect runs; grant nothing else.

    `residents` is what the model server says is loaded, models of strangers included.
    """

    name: str
    vram_mb: float
    slots: int
    busy: int = 0
    residents: tuple[Resident, ...] = ()
    switch: Switch | None = None
    alone: bool = False
    speed: float = 1.0

    @property
    def free_slots(self) -> int:
        return max(0, self.slots - self.busy)

    def resident(self, model: str) -> Resident | None:
        for r in self.residents:
            if r.model == model:
                return r
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`models` are the learned costs (size, load time); `max_wait_s` is the bound on waiting."""

    now: float
    queues: tuple[QueueView, ...]
    gpus: tuple[GpuView, ...]
    models: Mapping[str, Model]
    max_wait_s: float
