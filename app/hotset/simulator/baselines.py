"""The policies that hotset is measured against, each as simple as the program it stands for. They ignore priorities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from time import thread_time_ns

from hotset.fleet import Fleet
from hotset.simulator.devices import Device
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.result import Result
from hotset.simulator.world import World


class Workers(ABC):
    """Each slot is a worker that takes the next job and keeps it until it ran, cold model or not.

    The model server loads models in the order of the requests, as Ollama does: the earliest request that is kept and
    cold decides, and its load waits for the running requests of whom it evicts. Which job is next is `take`'s.
    """

    def __init__(self, fleet: Fleet, result: Result) -> None:
        self._result = result
        self._kept: list[list[SimJob]] = [[] for _ in fleet.gpus]

    @abstractmethod
    def arrived(self, job: SimJob) -> None: ...

    @abstractmethod
    def take(self, world: World, device: Device) -> SimJob | None:
        """The next job for the GPU, taken out of its queue."""

    def finished(self, job: SimJob, device: Device) -> None:  # noqa: B027 - no rival learns
        pass

    def returned(self, job: SimJob, device: Device) -> None:
        self.arrived(job)

    def changed(self, device: Device) -> None:  # noqa: B027 - no rival knows of other GPUs
        pass

    def decide(self, world: World, device: Device) -> None:
        began = thread_time_ns()
        kept = self._kept[device.index]
        device.reserved = 0
        while True:
            self._serve(world, device, kept)
            if device.busy + len(kept) >= device.gpu.slots or (job := self.take(world, device)) is None:
                break
            kept.append(job)
        if kept:
            world.reserve(device, len(kept))
        self._result.decision_ns.add(thread_time_ns() - began)

    def _serve(self, world: World, device: Device, kept: list[SimJob]) -> None:
        for job in list(kept):
            model = world.model_of[job.queue]
            if device.runs(model):
                kept.remove(job)
                world.start(device, job)
            elif device.switch_to is None and model not in device.resident:
                reason = f"{job.id} is next and its model is cold."
                world.switch(device, model, _least_recent(world, device, model), reason)


class Fifo(Workers):
    """One queue in order of arrival."""

    def __init__(self, fleet: Fleet, result: Result) -> None:
        super().__init__(fleet, result)
        self._queue: deque[SimJob] = deque()

    def arrived(self, job: SimJob) -> None:
        self._queue.append(job)

    def take(self, world: World, device: Device) -> SimJob | None:
        for job in self._queue:
            if _fits(world, device, job):
                self._queue.remove(job)  # nearly always the first
                return job
        return None


class RoundRobin(Workers):
    """A queue per tier; each worker takes from the first that has a job and then puts that queue last (kombu)."""

    def __init__(self, fleet: Fleet, result: Result) -> None:
        super().__init__(fleet, result)
        self._queues: dict[str, deque[SimJob]] = {name: deque() for name in fleet.queues}
        self._order = [list(fleet.queues) for _ in fleet.gpus]

    def arrived(self, job: SimJob) -> None:
        self._queues[job.queue].append(job)

    def take(self, world: World, device: Device) -> SimJob | None:
        order = self._order[device.index]
        for name in order:
            queue = self._queues[name]
            if queue and _fits(world, device, queue[0]):
                at = order.index(name) + 1
                order[:] = order[at:] + order[:at]
                return queue.popleft()
        return None


class HotFirst:
    """Resident models first, oldest head first; the oldest head decides the switch when they have nothing waiting.

    Several GPUs know nothing of each other: each looks at all queues.
    """

    def __init__(self, fleet: Fleet, result: Result) -> None:
        self._fleet = fleet
        self._result = result
        self._queues: dict[str, deque[SimJob]] = {name: deque() for name in fleet.queues}
        self._of_model: dict[str, list[deque[SimJob]]] = {}
        for name, queue in fleet.queues.items():
            self._of_model.setdefault(queue.model, []).append(self._queues[name])

    def arrived(self, job: SimJob) -> None:
        self._queues[job.queue].append(job)

    def finished(self, job: SimJob, device: Device) -> None:
        pass

    def returned(self, job: SimJob, device: Device) -> None:
        self._queues[job.queue].appendleft(job)

    def changed(self, device: Device) -> None:
        pass

    def may_load(self, device: Device, model: str) -> bool:
        return self._fleet.models[model].size_mb <= device.vram_mb

    def decide(self, world: World, device: Device) -> None:
        began = thread_time_ns()
        hot = [q for model in device.resident if device.runs(model) for q in self._of_model.get(model, ())]
        while device.free_slots and (heads := [q for q in hot if q]):
            queue = min(heads, key=lambda q: q[0].arrive_s)
            world.start(device, queue.popleft())
        if device.switch_to is None and device.free_slots and not any(hot):
            self._switch(world, device)
        self._result.decision_ns.add(thread_time_ns() - began)

    def _switch(self, world: World, device: Device) -> None:
        """To the oldest head's model, once nothing runs on whom it would evict: until then arrivals may join them."""
        heads = [q[0] for q in self._queues.values() if q and self.may_load(device, world.model_of[q[0].queue])]
        if not heads:
            return
        job = min(heads, key=lambda j: j.arrive_s)
        model = world.model_of[job.queue]
        victims = _least_recent(world, device, model)
        if not any(device.running[v] for v in victims):
            reason = f"Nothing waits on a hot model; {job.id} is the oldest."
            world.switch(device, model, victims, reason)


class Static(HotFirst):
    """A static partition: each model is pinned to GPUs in proportion to its load, which is known beforehand."""

    def __init__(self, fleet: Fleet, result: Result, jobs: Iterable[SimJob]) -> None:
        super().__init__(fleet, result)
        work = dict.fromkeys(fleet.models, 0.0)
        for job in jobs:
            work[fleet.queues[job.queue].model] += job.run_s
        self._pins = pins(fleet, {model: seconds for model, seconds in work.items() if seconds > 0})

    def may_load(self, device: Device, model: str) -> bool:
        return model in self._pins[device.index]


def pins(fleet: Fleet, work: Mapping[str, float]) -> Sequence[set[str]]:
    """The models of each GPU. Every model has one GPU at least, the largest choosing first; then whoever has the least
    capacity for its work gets another, for as long as one has room for it."""
    free = [gpu.vram_mb for gpu in fleet.gpus]
    power = [gpu.slots * gpu.speed for gpu in fleet.gpus]
    placed: list[set[str]] = [set() for _ in fleet.gpus]
    given = dict.fromkeys(work, 0.0)
    size = {model: fleet.models[model].size_mb for model in work}

    def place(model: str) -> bool:
        fitting = [i for i in range(len(free)) if model not in placed[i] and free[i] >= size[model]]
        if not fitting:
            return False
        best = min(fitting, key=lambda i: (len(placed[i]), -power[i], free[i]))
        for other in placed[best]:
            given[other] += power[best] * (1 / (len(placed[best]) + 1) - 1 / len(placed[best]))
        placed[best].add(model)
        free[best] -= size[model]
        given[model] += power[best] / len(placed[best])
        return True

    for model in sorted(work, key=lambda m: (-size[m], m)):
        if not place(model):  # nowhere beside the others: it takes turns with those of the largest GPU
            largest = max(range(len(free)), key=lambda i: (fleet.gpus[i].vram_mb, -len(placed[i])))
            placed[largest].add(model)
            given[model] += power[largest] / len(placed[largest])
    open_ = set(work)
    while open_:
        model = max(sorted(open_), key=lambda m: work[m] / given[m])
        if not place(model):
            open_.discard(model)
    return placed


def _fits(world: World, device: Device, job: SimJob) -> bool:
    return world.fleet.models[world.model_of[job.queue]].size_mb <= device.vram_mb


def _least_recent(world: World, device: Device, model: str) -> tuple[str, ...]:
    """Whom to evict so that the model fits: those unused for longest."""
    missing = world.fleet.models[model].size_mb - device.free_mb
    victims: list[str] = []
    for name in sorted(device.used, key=lambda n: device.used[n]):
        if missing <= 0:
            break
        victims.append(name)
        missing -= world.fleet.models[name].size_mb
    return tuple(victims)
