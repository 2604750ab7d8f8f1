"""The virtual world: GPUs with their clocks and models, and what happened to each job. No policy lives here.

Events at one moment are all taken in before anyone decides. A `Driver` decides; it starts jobs and begins switches
through the world, which alone changes state, keeps the figures and writes the trace.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Protocol

from hotset.errors import HotsetError, InvalidFleet
from hotset.fleet import Fleet, Gpu
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.result import QueueResult, Result

Trace = Callable[[Mapping[str, object]], None]
#: Called now and then with (jobs finished, jobs in all).
Progress = Callable[[int, int], None]

_FINISH, _LOADED, _WAKE = 0, 1, 2
_Event = tuple[float, int, int, "Device", SimJob | None]


class Device:
    """One simulated GPU. Only the world changes it; `version` rises with each change."""

    __slots__ = (
        "_draining_idle",
        "_loading_idle",
        "busy",
        "free_mb",
        "gpu",
        "index",
        "loading",
        "reason",
        "resident",
        "running",
        "switch_since",
        "switch_to",
        "used",
        "version",
        "victims",
        "vram_mb",
        "wake_at",
    )

    def __init__(self, index: int, gpu: Gpu, vram_mb: float) -> None:
        self.index = index
        self.gpu = gpu
        self.vram_mb = vram_mb
        self.free_mb = vram_mb
        self.busy = 0
        self.resident: dict[str, float] = {}  # model -> when it was loaded
        self.running: dict[str, int] = {}  # model -> requests in flight, for resident models
        self.used: dict[str, float] = {}  # model -> when a job last started on it
        self.switch_to: str | None = None
        self.victims: tuple[str, ...] = ()
        self.switch_since = 0.0
        self.loading = False
        self.reason = ""
        self.version = 0
        self.wake_at: float | None = None
        self._loading_idle = 0
        self._draining_idle = 0

    @property
    def free_slots(self) -> int:
        return self.gpu.slots - self.busy

    def runs(self, model: str) -> bool:
        """May a job on this model start now, as far as VRAM goes?"""
        return model in self.resident and model not in self.victims


class Driver(Protocol):
    """Who decides. `decide` is called for one GPU after something happened to it."""

    def arrived(self, job: SimJob) -> None: ...

    def finished(self, job: SimJob, device: Device) -> None: ...

    def decide(self, world: World, device: Device) -> None: ...


class World:
    """Runs the jobs of one simulation. All times are model seconds from the first line of the jobs file's clock."""

    def __init__(
        self,
        fleet: Fleet,
        jobs: Sequence[SimJob],
        driver: Driver,
        result: Result,
        *,
        unlimited: bool = False,
        trace: Trace | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.fleet = fleet
        self.now = 0.0
        self.model_of = {name: queue.model for name, queue in fleet.queues.items()}
        self.devices = [Device(i, gpu, float("inf") if unlimited else gpu.vram_mb) for i, gpu in enumerate(fleet.gpus)]
        self._jobs = jobs
        self._driver = driver
        self._result = result
        self._trace = trace
        self._progress = progress
        self._events: list[_Event] = []
        self._sequence = 0
        self._waiting = 0
        self._finished = 0
        self._slots = sum(gpu.slots for gpu in fleet.gpus)
        self._busy = self._loading_idle = self._draining_idle = 0
        self._dirty: set[int] = set()
        self._check()

    def _check(self) -> None:
        for name in {job.queue for job in self._jobs}:
            model = self.fleet.models[self.model_of[name]]
            if not any(model.size_mb <= device.vram_mb for device in self.devices):
                raise InvalidFleet(
                    f"{model.name} of queue {name} needs {model.size_mb:.0f} MiB; no GPU has that much.",
                    remedy="Give the queue a smaller model, or the fleet a larger GPU.",
                )

    # ---- time --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """To the last finish. HotsetError if the driver leaves jobs waiting for ever."""
        began = perf_counter()
        jobs, events, total = self._jobs, self._events, len(self._jobs)
        step = max(1, total // 100)
        reported = arrived = 0
        while self._finished < total:
            moment = events[0][0] if events else float("inf")
            if arrived < total and jobs[arrived].arrive_s <= moment:
                moment = jobs[arrived].arrive_s
            if moment == float("inf"):
                raise HotsetError(
                    f"{self._waiting} jobs wait for ever after {self.now:.0f} s: the policy has stalled.",
                    remedy="Please report it with the fleet and the jobs file.",
                )
            self._advance(moment)
            while events and events[0][0] <= moment:
                self._happen(*heapq.heappop(events)[2:])
            while arrived < total and jobs[arrived].arrive_s <= moment:
                self._arrive(jobs[arrived])
                arrived += 1
            self._decide()
            if self._progress is not None and self._finished - reported >= step:
                reported = self._finished
                self._progress(reported, total)
        self._result.first_arrival_s = jobs[0].arrive_s if jobs else 0.0
        self._result.last_finish_s = self.now if jobs else 0.0
        self._result.wall_s = perf_counter() - began

    def wake(self, device: Device, at: float) -> None:
        """Look at the device again at that moment, unless an earlier look is due already."""
        if at > self.now and (device.wake_at is None or at < device.wake_at or device.wake_at <= self.now):
            device.wake_at = at
            self._push(at, _WAKE, device, None)

    def _advance(self, to: float) -> None:
        lasted = to - self.now
        if lasted > 0 and (self._waiting or self._busy):
            result = self._result
            result.work_slot_s += lasted * self._slots
            result.busy_slot_s += lasted * self._busy
            result.loading_slot_s += lasted * self._loading_idle
            result.draining_slot_s += lasted * self._draining_idle
        self.now = to

    def _push(self, at: float, kind: int, device: Device, job: SimJob | None) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (at, self._sequence, kind, device, job))

    def _decide(self) -> None:
        dirty = self._dirty
        for device in self.devices:
            if device.index in dirty:
                dirty.discard(device.index)
                self._driver.decide(self, device)

    def _all_dirty(self) -> None:
        self._dirty.update(range(len(self.devices)))

    # ---- what happens ------------------------------------------------------------------------------------

    def _arrive(self, job: SimJob) -> None:
        self._waiting += 1
        if self._trace is not None:
            self._trace({"t": self.now, "event": "arrive", "job": job.id, "queue": job.queue})
        self._driver.arrived(job)
        self._all_dirty()

    def _happen(self, kind: int, device: Device, job: SimJob | None) -> None:
        if kind == _FINISH and job is not None:
            self._finish(device, job)
        elif kind == _LOADED:
            self._loaded(device)
        elif device.wake_at == self.now:
            device.wake_at = None
            self._dirty.add(device.index)

    def _finish(self, device: Device, job: SimJob) -> None:
        self._finished += 1
        self._busy -= 1
        device.busy -= 1
        device.running[self.model_of[job.queue]] -= 1
        if self._trace is not None:
            self._trace(
                {
                    "t": self.now,
                    "event": "finish",
                    "gpu": device.gpu.name,
                    "job": job.id,
                    "outcome": "succeeded",
                }
            )
        self._driver.finished(job, device)
        self._dirty.add(device.index)
        if device.switch_to is not None:
            self._drain(device)
        self._changed(device)

    def _loaded(self, device: Device) -> None:
        model = device.switch_to
        if model is None:
            raise AssertionError("a load ended that never began")
        device.resident[model] = self.now
        device.running[model] = 0
        device.used[model] = self.now
        device.switch_to = None
        device.victims = ()
        device.loading = False
        if self._trace is not None:
            self._trace({"t": self.now, "event": "loaded", "gpu": device.gpu.name, "model": model})
        self._all_dirty()
        self._changed(device)

    def _drain(self, device: Device) -> None:
        """Evict the victims that run nothing; load when all are gone."""
        if device.loading or device.switch_to is None:
            return
        drained = True
        for victim in device.victims:
            if victim in device.resident:
                if device.running[victim]:
                    drained = False
                else:
                    self._evict(device, victim)
        if drained:
            self._load(device, device.switch_to)

    def _evict(self, device: Device, model: str) -> None:
        del device.resident[model], device.running[model], device.used[model]
        device.free_mb += self.fleet.models[model].size_mb
        if self._trace is not None:
            self._trace({"t": self.now, "event": "evict", "gpu": device.gpu.name, "model": model})

    def _load(self, device: Device, name: str) -> None:
        model = self.fleet.models[name]
        device.free_mb -= model.size_mb
        if device.free_mb < -1e-6:
            raise HotsetError(f"{name} does not fit beside {', '.join(device.resident)} on {device.gpu.name}.")
        device.loading = True
        self._result.swaps += 1
        if self._trace is not None:
            self._trace(
                {
                    "t": self.now,
                    "event": "load",
                    "gpu": device.gpu.name,
                    "model": name,
                    "reason": device.reason,
                }
            )
        self._push(self.now + model.load_s / device.gpu.speed, _LOADED, device, None)

    def _changed(self, device: Device) -> None:
        device.version += 1
        idle = device.free_slots
        loading = idle if device.loading else 0
        draining = idle if device.switch_to is not None and not device.loading else 0
        self._loading_idle += loading - device._loading_idle
        self._draining_idle += draining - device._draining_idle
        device._loading_idle, device._draining_idle = loading, draining

    # ---- what a driver may do ----------------------------------------------------------------------------

    def start(self, device: Device, job: SimJob) -> None:
        """Run the job now. HotsetError if the model is not there or no slot is free: a driver's bug."""
        model = self.model_of[job.queue]
        if not device.runs(model) or device.busy >= device.gpu.slots:
            raise HotsetError(f"Job {job.id} was started on {device.gpu.name} without a slot or its model.")
        self._waiting -= 1
        self._busy += 1
        device.busy += 1
        device.running[model] += 1
        device.used[model] = self.now
        self._result.started(job.queue, self.now - job.arrive_s, job.deadline_s)
        if self._trace is not None:
            self._trace({"t": self.now, "event": "start", "gpu": device.gpu.name, "job": job.id, "model": model})
        self._push(self.now + job.run_s / device.gpu.speed, _FINISH, device, job)
        self._changed(device)

    def switch(self, device: Device, model: str, victims: Sequence[str], reason: str) -> None:
        """Drain and evict the victims, then load the model. HotsetError while another switch is under way."""
        if device.switch_to is not None or model in device.resident:
            raise HotsetError(f"{model} cannot be loaded on {device.gpu.name} now.")
        device.switch_to = model
        device.victims = tuple(victims)
        device.switch_since = self.now
        device.reason = reason
        self._drain(device)
        self._changed(device)
        for other in self.devices:  # the others see another hot set: let them look again
            if other is not device:
                self._dirty.add(other.index)


def new_result(policy: str, fleet: Fleet) -> Result:
    return Result(policy, fleet.max_wait_s, {name: QueueResult() for name in fleet.queues})
