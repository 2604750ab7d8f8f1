"""The virtual world: GPUs with their clocks and models, and what happened to each job. No policy lives here.

Events at one moment are all taken in before anyone decides. A `Driver` decides; it starts jobs and begins switches
through the world, which alone changes state, keeps the figures and writes the trace.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import chain, islice
from time import perf_counter
from typing import Protocol

from hotset.errors import HotsetError, InvalidFleet
from hotset.fleet import Fleet
from hotset.simulator.devices import Device, Outage
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.result import QueueResult, Result

Trace = Callable[[Mapping[str, object]], None]
#: Called now and then with (jobs finished, jobs in all; 0 while that is not known).
Progress = Callable[[int, int], None]

_FINISH, _LOADED, _WAKE, _DOWN, _UP = range(5)
_Event = tuple[float, int, int, int, Device, SimJob | None]
#: Up to so many GPUs all of them look when something happens that concerns all; of more, the few best placed.
ALL_LOOK, FEW_LOOK = 8, 2


class Driver(Protocol):
    """Who decides. `decide` is called for one GPU after something happened to it."""

    def arrived(self, job: SimJob) -> None: ...

    def finished(self, job: SimJob, device: Device) -> None: ...

    def returned(self, job: SimJob, device: Device) -> None:
        """It ran on a GPU that went away, and waits again."""

    def changed(self, device: Device) -> None: ...

    def decide(self, world: World, device: Device) -> None: ...


class World:
    """Runs the jobs of one simulation. All times are model seconds from the first line of the jobs file's clock."""

    def __init__(
        self,
        fleet: Fleet,
        jobs: Iterable[SimJob],
        driver: Driver,
        result: Result,
        *,
        unlimited: bool = False,
        outages: Sequence[Outage] = (),
        trace: Trace | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.fleet = fleet
        self.now = 0.0
        self.model_of = {name: queue.model for name, queue in fleet.queues.items()}
        self.devices = [Device(i, gpu, float("inf") if unlimited else gpu.vram_mb) for i, gpu in enumerate(fleet.gpus)]
        self._jobs = jobs
        self.devices_up = len(self.devices)
        self._driver = driver
        self._result = result
        self._trace = trace
        self._progress = progress
        self._events: list[_Event] = []
        self._sequence = 0
        self._waiting = 0
        self._finished = 0
        self._ended = 0.0
        self._slots = sum(gpu.slots for gpu in fleet.gpus)
        self._busy = self._loading_idle = self._draining_idle = 0
        self._dirty: set[int] = set()
        self._all = range(len(self.devices))
        self._fits: set[str] = set()
        # Who could take a job at once: GPUs with a free slot, by model, and those that could load another model.
        self._holders: dict[str, dict[int, None]] = {name: {} for name in fleet.models}
        self._empty: dict[int, None] = {}
        self._partly: dict[int, None] = {}
        for device in self.devices:
            self._changed(device)
        for outage in outages:
            device = self.devices[[gpu.name for gpu in fleet.gpus].index(outage.gpu)]
            self._push(outage.from_s, _DOWN, device, None)
            if outage.until_s < float("inf"):
                self._push(outage.until_s, _UP, device, None)

    def _check(self, queue: str) -> None:
        model = self.fleet.models[self.model_of[queue]]
        if not any(model.size_mb <= device.vram_mb for device in self.devices):
            raise InvalidFleet(
                f"{model.name} of queue {queue} needs {model.size_mb:.0f} MiB; no GPU has that much.",
                remedy="Give the queue a smaller model, or the fleet a larger GPU.",
            )
        self._fits.add(queue)

    # ---- time --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """To the last finish. HotsetError if the driver leaves jobs waiting for ever."""
        began = perf_counter()
        events = self._events
        total = len(self._jobs) if isinstance(self._jobs, Sized) else 0
        step = max(1, total // 100) if total else 10_000
        jobs = iter(self._jobs)
        job = next(jobs, None)
        self._result.first_arrival_s = job.arrive_s if job is not None else 0.0
        reported = 0
        while job is not None or self._waiting or self._busy:
            moment = events[0][0] if events else float("inf")
            if job is not None and job.arrive_s < moment:
                moment = job.arrive_s
            if moment == float("inf"):
                if not self._second_look():
                    raise HotsetError(
                        f"{self._waiting} jobs wait for ever after {self.now:.0f} s: the policy has stalled.",
                        remedy="Please report it with the fleet and the jobs file.",
                    )
                continue
            self._advance(moment)
            while events and events[0][0] <= moment:
                self._happen(*heapq.heappop(events)[2:])
            while job is not None and job.arrive_s <= moment:
                self._arrive(job)
                job = next(jobs, None)
            self._decide()
            if self._progress is not None and self._finished - reported >= step:
                reported = self._finished
                self._progress(reported, total)
        self._result.last_finish_s = self._ended
        self._result.wall_s = perf_counter() - began

    def _second_look(self) -> bool:
        """Before a stall is told: in a large fleet only few have looked."""
        if len(self.devices) <= ALL_LOOK:
            return False
        self._dirty.update(range(len(self.devices)))
        self._decide()
        return bool(self._events)

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
        heapq.heappush(self._events, (at, self._sequence, kind, device.epoch, device, job))

    def _decide(self) -> None:
        """In the order of the GPUs; who looks on account of an earlier decision looks now as well, if behind it."""
        dirty = self._dirty
        if len(self.devices) <= ALL_LOOK:
            for device in self.devices:
                if device.index in dirty:
                    dirty.discard(device.index)
                    if device.up:
                        self._driver.decide(self, device)
            return
        while dirty:  # each turn has a switch that began: it ends when all GPUs switch
            for index in sorted(dirty):
                dirty.discard(index)
                if self.devices[index].up:
                    self._driver.decide(self, self.devices[index])

    def _look(self, model: str | None) -> None:
        """Something happened that concerns all: let them look, or of many the few that could act at once.

        Those that are full look at their next finish. Of the others one that holds the model is enough.
        """
        if len(self.devices) <= ALL_LOOK:
            self._dirty.update(self._all)
            return
        holders = self._holders[model] if model is not None else None
        if holders:
            self._dirty.add(next(iter(holders)))
            return
        size = self.fleet.models[model].size_mb if model is not None else 0.0
        found = 0
        for index in chain(islice(self._empty, 50), islice(self._partly, 50)):
            if self.devices[index].vram_mb >= size:
                self._dirty.add(index)
                found += 1
                if found == FEW_LOOK:
                    return

    def _offer(self, device: Device) -> None:
        """Keep who could take a job at once, as `_look` needs it of many."""
        if len(self.devices) <= ALL_LOOK:
            return
        if device.offered is not None:
            for model in device.offered:
                self._holders[model].pop(device.index, None)
            self._empty.pop(device.index, None)
            self._partly.pop(device.index, None)
            device.offered = None
        if device.up and device.free_slots > 0:
            device.offered = tuple([m for m in device.resident if m not in device.victims])
            for model in device.offered:
                self._holders[model][device.index] = None
            if device.switch_to is None:
                (self._partly if device.busy else self._empty)[device.index] = None

    # ---- what happens ------------------------------------------------------------------------------------

    def _arrive(self, job: SimJob) -> None:
        if job.queue not in self._fits:
            self._check(job.queue)
        self._waiting += 1
        if self._trace is not None:
            self._trace({"t": self.now, "event": "arrive", "job": job.id, "queue": job.queue})
        self._driver.arrived(job)
        self._look(self.model_of[job.queue])

    def _happen(self, kind: int, epoch: int, device: Device, job: SimJob | None) -> None:
        if kind == _DOWN:
            self._down(device)
        elif kind == _UP:
            device.up = True
            self.devices_up += 1
            self._slots += device.gpu.slots
            self._dirty.add(device.index)
            self._changed(device)
        elif epoch != device.epoch:
            pass  # the GPU went away meanwhile
        elif kind == _FINISH and job is not None:
            self._finish(device, job)
        elif kind == _LOADED:
            self._loaded(device)
        elif device.wake_at == self.now:
            device.wake_at = None
            self._dirty.add(device.index)

    def _finish(self, device: Device, job: SimJob) -> None:
        self._finished += 1
        self._ended = self.now
        self._busy -= 1
        del device.work[job.id]
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
        self._dirty.add(device.index)
        if len(self.devices) <= ALL_LOOK:
            self._look(None)
        self._changed(device)

    def _down(self, device: Device) -> None:
        """Gone, with its models; its jobs wait again."""
        device.up = False
        device.epoch += 1
        self.devices_up -= 1
        self._slots -= device.gpu.slots
        self._busy -= device.busy
        device.busy = 0
        device.switch_to, device.victims, device.loading, device.wake_at = None, (), False, None
        device.resident.clear()
        device.running.clear()
        device.used.clear()
        device.free_mb = device.vram_mb
        lost, device.work = device.work, {}
        for job in lost.values():
            self._waiting += 1
            if self._trace is not None:
                ended = {"t": self.now, "event": "finish", "gpu": device.gpu.name, "job": job.id, "outcome": "retried"}
                self._trace(ended)
            self._driver.returned(job, device)
            self._look(self.model_of[job.queue])
        self._changed(device)
        self._look(None)

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
        self._driver.changed(device)
        self._offer(device)
        idle = device.gpu.slots - device.busy
        loading = idle if device.loading else 0
        draining = idle if device.switch_to is not None and not device.loading else 0
        self._loading_idle += loading - device.loading_idle
        self._draining_idle += draining - device.draining_idle
        device.loading_idle, device.draining_idle = loading, draining

    # ---- what a driver may do ----------------------------------------------------------------------------

    def start(self, device: Device, job: SimJob) -> None:
        """Run the job now. HotsetError if the model is not there or no slot is free: a driver's bug."""
        model = self.model_of[job.queue]
        if not device.runs(model) or device.free_slots <= 0:
            raise HotsetError(f"Job {job.id} was started on {device.gpu.name} without a slot or its model.")
        self._waiting -= 1
        self._busy += 1
        device.busy += 1
        device.work[job.id] = job
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
        self._look(None)  # the others see another hot set
        self._dirty.discard(device.index)

    def give_up(self, device: Device) -> None:
        """End the switch, which still drains; victims that are gone stay gone."""
        if device.loading:
            raise HotsetError(f"{device.gpu.name} already loads {device.switch_to}.")
        device.switch_to, device.victims = None, ()
        self._changed(device)
        self._look(None)
        self._dirty.discard(device.index)

    def reserve(self, device: Device, slots: int) -> None:
        """So many of its free slots are promised to jobs that wait for a load."""
        device.reserved = slots
        self._changed(device)


def new_result(policy: str, fleet: Fleet) -> Result:
    return Result(policy, fleet.max_wait_s, {name: QueueResult() for name in fleet.queues})
