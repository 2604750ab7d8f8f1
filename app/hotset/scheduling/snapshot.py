"""What the policy sees: one moment of queues and GPUs, aggregated, as frozen data.

All times are model seconds (wall seconds ÷ scale) on one clock; the policy never reads a clock itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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


class Demand(NamedTuple):
    """Waiting jobs of one model or of one of its queues, suspects included.

    `weight`: jobs weighted by priority. `work`: expected slot seconds at speed 1. `oldest`: arrival of the job that
    waits longest. `next_deadline`: the earliest deadline that can still be met, suspects left out (they are late
    already, and no reason to swap before they are overdue); infinity if there is none. `savable`: jobs that can meet
    theirs.
    """

    model: str
    jobs: int
    weight: float
    work: float
    oldest: float
    next_deadline: float
    savable: int


#: Jobs of a higher priority count for more when the next model is chosen: low, normal, high, urgent.
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class QueueView:
    """`run_s`: the expected run time of one of its jobs on a GPU of speed 1. `lanes` holds only lanes with jobs.

    `demand` is their sum, worked out once: a view is kept for as long as nothing in its queue changes.
    """

    name: str
    model: str
    run_s: float
    lanes: tuple[Lane, ...] = ()
    demand: Demand = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        jobs, savable, weight, oldest, deadline = 0, 0, 0.0, _NEVER, _NEVER
        for lane in self.lanes:
            jobs += lane.waiting
            weight += lane.waiting * WEIGHTS[lane.priority]
            if lane.oldest_arrival < oldest:
                oldest = lane.oldest_arrival
            if lane.next_deadline is not None and not lane.alone:
                savable += lane.savable
                if lane.next_deadline < deadline:
                    deadline = lane.next_deadline
        demand = Demand(self.model, jobs, weight, jobs * self.run_s, oldest, deadline, savable)
        object.__setattr__(self, "demand", demand)

    @property
    def waiting(self) -> int:
        return self.demand.jobs


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model. `running` counts requests granted or in flight on it; `since`: when it was loaded."""

    model: str
    size_mb: float
    since: float
    running: int = 0


@dataclass(frozen=True, slots=True)
class Switch:
    """A load that has been decided: it drains and evicts `victims`, then loads `model`."""

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
        return self.slots - self.busy if self.busy < self.slots else 0

    def resident(self, model: str) -> Resident | None:
        for r in self.residents:
            if r.model == model:
                return r
        return None


class Supply(NamedTuple):
    """What other GPUs offer one model: how many hold it (or load it) and will keep it, their slots × speed (shared
    with whatever else they hold), and their slots that are free for it, or will be once a switch under way is over."""

    replicas: int
    power: float
    soon: int


@dataclass(frozen=True, slots=True)
class Others:
    """All GPUs but the one that decides, summed up: whoever decides for one GPU looks at no other.

    `power`: slots × speed. `rooms`: usable VRAM -> power of the GPUs that have just so much.
    """

    gpus: int = 0
    power: float = 0.0
    supply: Mapping[str, Supply] = field(default_factory=dict)
    rooms: Mapping[float, float] = field(default_factory=dict)


NOBODY = Others()
_NO_SUPPLY = Supply(0, 0.0, 0)


def held(view: GpuView) -> dict[str, int]:
    """The models that a GPU will hold once its switch is over -> its slots that are then free for each, or are now.

    For the model that it loads that is one at least: until the load is over short runs end on what stays, and whoever
    it was loaded for has waited for longest. Else all others would load it for the same job.
    """
    switch = view.switch
    if switch is None:
        return dict.fromkeys([r.model for r in view.residents], view.free_slots)
    kept = [r for r in view.residents if r.model not in switch.victims and r.model != switch.model]
    soon = view.slots - sum([r.running for r in kept])
    return {**dict.fromkeys([r.model for r in kept], soon), switch.model: max(1, soon)}


def others(views: Iterable[GpuView]) -> Others:
    """The sum of these GPUs. A worker makes it once for each look at the board."""
    supply: dict[str, Supply] = {}
    rooms: dict[float, float] = {}
    gpus, power = 0, 0.0
    for view in views:
        own = view.slots * view.speed
        gpus, power = gpus + 1, power + own
        rooms[view.vram_mb] = rooms.get(view.vram_mb, 0.0) + own
        models = held(view)
        for model, soon in models.items():
            before = supply.get(model, _NO_SUPPLY)
            part = own / len(models)
            supply[model] = Supply(before.replicas + 1, before.power + part, before.soon + soon)
    return Others(gpus, power, supply, rooms)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one GPU's decision may look at. Its size does not grow with the jobs that wait, nor with the GPUs.

    `queues`: those with waiting jobs. `models` are the learned costs (size, load time); `runs`: model -> the longest
    expected run of its queues at speed 1, which is what a drain may have to wait for. `max_wait_s` is the bound.

    What follows is worked out of these if it is None; whoever decides often keeps it up to date instead. `demands`: the
    waiting work by model, in the order of the queues. `sought`: in the same order, the models of whose work the other
    GPUs may leave something to this one; of the rest it is certain that they leave nothing.
    """

    now: float
    queues: tuple[QueueView, ...]
    gpu: GpuView
    models: Mapping[str, Model]
    runs: Mapping[str, float]
    max_wait_s: float
    others: Others = NOBODY
    demands: Mapping[str, Demand] | None = None
    sought: tuple[str, ...] | None = None
