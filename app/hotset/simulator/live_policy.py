"""The policy of the live worker in the virtual world: the same `decide`, the same lanes, a snapshot each time.

What a snapshot sums up is kept up to date as things happen, so that a decision for one GPU of a thousand costs what
it costs for one of two: queues keep their view until something in them changes, and the other GPUs are a sum from
which the deciding one is taken out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from time import thread_time_ns

from hotset.errors import HotsetError
from hotset.fleet import Fleet
from hotset.scheduling import (
    NOBODY,
    GiveUp,
    GpuView,
    Lane,
    Load,
    Options,
    Others,
    QueueView,
    Resident,
    Run,
    Snapshot,
    Supply,
    Switch,
    decide,
)
from hotset.scheduling.snapshot import held
from hotset.simulator.devices import Device
from hotset.simulator.jobs_file import LANES, SimJob
from hotset.simulator.lanes import Jobs
from hotset.simulator.lanes import Queue as Waiting
from hotset.simulator.result import Result
from hotset.simulator.world import World

#: The expected run time starts at the fleet file's estimate, worth so many observed runs, and follows the last
#: hundred or so.
_PRIOR_RUNS, _MEMORY_RUNS = 10, 100


class _Queue:
    """The waiting jobs of one queue, and the view of them that still holds."""

    def __init__(self, name: str, model: str, run_s: float) -> None:
        self.name = name
        self.model = model
        self.run_s = run_s
        self.runs = _PRIOR_RUNS
        self.waiting = Waiting()
        self._view: QueueView | None = None
        self._good_until = 0.0

    def changed(self) -> None:
        self._view = None

    def learn(self, run_s: float) -> None:
        self.runs = min(self.runs + 1, _MEMORY_RUNS)
        self.run_s += (run_s - self.run_s) / self.runs
        self._view = None

    def view(self, now: float) -> QueueView:
        """The view of this moment; the last one holds until a job comes or goes or a deadline passes."""
        if self._view is None or now > self._good_until:
            lanes = []
            self._good_until = float("inf")
            for name, jobs in self.waiting.lanes().items():
                if jobs:
                    lane = _lane(name, jobs, now)
                    lanes.append(lane)
                    if lane.next_deadline is not None:
                        self._good_until = min(self._good_until, lane.next_deadline)
            self._view = QueueView(self.name, self.model, self.run_s, tuple(lanes))
        return self._view


def _lane(name: str, jobs: Jobs, now: float) -> Lane:
    savable, deadline = jobs.savable(now)
    return Lane(name, LANES[name], len(jobs), jobs.oldest_arrival() or 0.0, savable, deadline)


class _Gpus:
    """The view of each GPU and their sum, both renewed only for those that changed."""

    def __init__(self, fleet: Fleet, devices: int) -> None:
        self._fleet = fleet
        self._views: list[GpuView | None] = [None] * devices
        self._stale = dict.fromkeys(range(devices))
        self._supply: dict[str, Supply] = {}
        self._parts: list[tuple[list[str], float, int]] = [([], 0.0, 0)] * devices
        self._power = 0.0
        self._rooms: dict[float, float] = {}

    def changed(self, device: Device) -> None:
        self._stale[device.index] = None

    def look(self, world: World, device: Device) -> tuple[GpuView, Others]:
        """One GPU as it is, and the sum of all others."""
        if len(world.devices) == 1:
            view = self._views[0]
            if view is None or self._stale:
                view = self._views[0] = self._view(device)
                self._stale.clear()
            return view, NOBODY
        for index in self._stale:
            self._renew(index, world.devices[index])
        self._stale.clear()
        view = self._views[device.index]
        if view is None:
            raise AssertionError("every GPU was renewed at least once")
        models, power, soon = self._parts[device.index]
        supply = dict(self._supply)
        for model in models:
            _add(supply, model, -1, -power / len(models), -soon)
        rooms = dict(self._rooms)
        _give(rooms, device.vram_mb, -power)
        return view, Others(world.devices_up - 1, self._power - power, supply, rooms)

    def _renew(self, index: int, device: Device) -> None:
        view = self._views[index] = self._view(device)
        models, power, soon = self._parts[index]
        for model in models:
            _add(self._supply, model, -1, -power / len(models), -soon)
        self._power -= power
        _give(self._rooms, device.vram_mb, -power)
        models, soon, power = [], 0, 0.0
        if device.up:
            models, soon = held(view)
            power = view.slots * view.speed
        self._power += power
        _give(self._rooms, device.vram_mb, power)
        for model in models:
            _add(self._supply, model, 1, power / len(models), soon)
        self._parts[index] = models, power, soon

    def _view(self, device: Device) -> GpuView:
        models, gpu = self._fleet.models, device.gpu
        switch = Switch(device.switch_to, device.victims, device.switch_since) if device.switch_to is not None else None
        residents = [Resident(m, models[m].size_mb, at, device.running[m]) for m, at in device.resident.items()]
        return GpuView(gpu.name, device.vram_mb, gpu.slots, device.busy, tuple(residents), switch, False, gpu.speed)


def _add(supply: dict[str, Supply], model: str, replicas: int, power: float, soon: int) -> None:
    before = supply.get(model)
    if before is None:
        supply[model] = Supply(replicas, power, soon)
    elif before.replicas + replicas == 0:
        del supply[model]  # with whatever the rounding of sums has left
    else:
        supply[model] = Supply(before.replicas + replicas, before.power + power, before.soon + soon)


def _give(rooms: dict[float, float], vram_mb: float, power: float) -> None:
    """More power, or less, of GPUs with so much VRAM."""
    left = rooms.get(vram_mb, 0.0) + power
    if left > 1e-6:  # else nobody is left but the rounding of sums
        rooms[vram_mb] = left
    else:
        rooms.pop(vram_mb, None)


class LivePolicy:
    """A `Driver`: builds the snapshot that a worker would see and carries out what the policy answers."""

    def __init__(self, fleet: Fleet, result: Result, options: Options) -> None:
        self._fleet = fleet
        self._jobs: dict[str, SimJob] = {}
        self._result = result
        self._options = options
        self._queues = {q.name: _Queue(q.name, q.model, q.run_s) for q in fleet.queues.values()}
        self._order = {name: i for i, name in enumerate(self._queues)}
        self._waiting: list[int] = []
        self._by_number = list(self._queues.values())
        self._gpus = _Gpus(fleet, len(fleet.gpus))
        self._runs: dict[str, float] = {}
        self._of_model: dict[str, list[_Queue]] = {}
        for queue in self._queues.values():
            self._of_model.setdefault(queue.model, []).append(queue)
            self._learned(queue)

    def arrived(self, job: SimJob) -> None:
        queue = self._queues[job.queue]
        if not queue.waiting:
            insort(self._waiting, self._order[job.queue])
        queue.waiting.add(job.priority, job.id, job.arrive_s, job.deadline, tenant=job.tenant, agent=job.agent)
        self._jobs[job.id] = job
        queue.changed()

    def finished(self, job: SimJob, device: Device) -> None:
        queue = self._queues[job.queue]
        queue.waiting.correct(job.tenant, job.agent, job.run_s - device.charged.pop(job.id))
        queue.learn(job.run_s)
        self._learned(queue)

    def returned(self, job: SimJob, device: Device) -> None:
        self._queues[job.queue].waiting.correct(job.tenant, job.agent, -device.charged.pop(job.id))
        self.arrived(job)

    def changed(self, device: Device) -> None:
        self._gpus.changed(device)

    def _learned(self, queue: _Queue) -> None:
        longest = max([q.run_s for q in self._of_model[queue.model]])
        self._runs = {**self._runs, queue.model: longest}

    def decide(self, world: World, device: Device) -> None:
        if device.busy >= device.gpu.slots:
            if not self._may_switch(device):
                return
        elif not self._waiting and device.switch_to is None:
            return
        now = world.now
        view, others = self._gpus.look(world, device)
        snapshot = Snapshot(
            now,
            tuple([self._by_number[i].view(now) for i in self._waiting]),
            view,
            self._fleet.models,
            self._runs,
            self._fleet.max_wait_s,
            others,
        )
        began = thread_time_ns()
        decisions = decide(snapshot, self._options)
        self._result.decision_ns.add(thread_time_ns() - began)
        for decision in decisions:
            if isinstance(decision, Run):
                self._run(world, device, decision)
            elif isinstance(decision, Load):
                world.switch(device, decision.model, decision.victims, decision.reason)
            elif isinstance(decision, GiveUp):
                world.give_up(device)
            elif decision.until is not None:
                world.wake(device, decision.until)

    def _may_switch(self, device: Device) -> bool:
        """Could the policy do more than wait, with all slots taken? If not, nobody needs a snapshot: most looks."""
        waiting = [self._by_number[i].model for i in self._waiting]
        if device.switch_to is not None:
            return device.switch_to not in waiting  # it may drain for nobody
        models, resident = self._fleet.models, device.resident
        room = device.vram_mb - sum([models[name].size_mb for name, running in device.running.items() if running])
        return any(models[name].size_mb <= room for name in waiting if name not in resident)

    def _run(self, world: World, device: Device, run: Run) -> None:
        queue = self._queues[run.queue]
        job = queue.waiting.take(run.lane, run.selector, world.now, queue.run_s)
        if job is None:
            raise HotsetError(f"The policy granted a run of {run.queue} where nothing waits.")
        device.charged[job] = queue.run_s
        queue.changed()
        if not queue.waiting:
            del self._waiting[bisect_left(self._waiting, self._order[run.queue])]
        world.start(device, self._jobs.pop(job))
