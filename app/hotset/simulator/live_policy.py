"""The policy of the live worker in the virtual world: the same `decide`, the same lanes, a snapshot each time."""

from __future__ import annotations

from time import perf_counter_ns

from hotset.errors import HotsetError
from hotset.fleet import Fleet
from hotset.scheduling import (
    GpuView,
    Lane,
    Load,
    Options,
    QueueView,
    Resident,
    Run,
    Snapshot,
    Switch,
    decide,
)
from hotset.simulator.jobs_file import LANES, SimJob
from hotset.simulator.lanes import Lane as LaneOfJobs
from hotset.simulator.result import Result
from hotset.simulator.world import Device, World

#: The expected run time starts at the fleet file's estimate, worth so many observed runs, and follows the last
#: hundred or so.
_PRIOR_RUNS, _MEMORY_RUNS = 10, 100


class _Queue:
    """The waiting jobs of one queue by priority, and the view of them that still holds."""

    def __init__(self, name: str, model: str, run_s: float) -> None:
        self.name = name
        self.model = model
        self.run_s = run_s
        self.runs = _PRIOR_RUNS
        self.lanes = {priority: LaneOfJobs() for priority in LANES}
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
            for name, jobs in self.lanes.items():
                if jobs:
                    lane = _lane(name, jobs, now)
                    lanes.append(lane)
                    if lane.next_deadline is not None:
                        self._good_until = min(self._good_until, lane.next_deadline)
            self._view = QueueView(self.name, self.model, self.run_s, tuple(lanes))
        return self._view


def _lane(name: str, jobs: LaneOfJobs, now: float) -> Lane:
    savable, deadline = jobs.savable(now)
    return Lane(name, LANES[name], len(jobs), jobs.oldest_arrival() or 0.0, savable, deadline)


class LivePolicy:
    """A `Driver`: builds the snapshot that a worker would see and carries out what the policy answers."""

    def __init__(self, fleet: Fleet, jobs: dict[str, SimJob], result: Result, options: Options) -> None:
        self._fleet = fleet
        self._jobs = jobs
        self._result = result
        self._options = options
        self._queues = {q.name: _Queue(q.name, q.model, q.run_s) for q in fleet.queues.values()}
        self._gpus: dict[int, tuple[int, GpuView]] = {}

    def arrived(self, job: SimJob) -> None:
        queue = self._queues[job.queue]
        queue.lanes[job.priority].add(job.id, job.arrive_s, job.deadline)
        queue.changed()

    def finished(self, job: SimJob, device: Device) -> None:
        self._queues[job.queue].learn(job.run_s)

    def decide(self, world: World, device: Device) -> None:
        now = world.now
        snapshot = Snapshot(
            now,
            tuple([queue.view(now) for queue in self._queues.values()]),
            tuple([self._gpu(world, d) for d in world.devices]),
            self._fleet.models,
            self._fleet.max_wait_s,
        )
        began = perf_counter_ns()
        decisions = decide(snapshot, device.gpu.name, self._options)
        self._result.decision_ns.append(perf_counter_ns() - began)
        for decision in decisions:
            if isinstance(decision, Run):
                self._run(world, device, decision)
            elif isinstance(decision, Load):
                world.switch(device, decision.model, decision.victims, decision.reason)
            elif decision.until is not None:
                world.wake(device, decision.until)

    def _run(self, world: World, device: Device, run: Run) -> None:
        queue = self._queues[run.queue]
        lane = queue.lanes[run.lane]
        job = lane.pick(run.selector, world.now)
        if job is None:
            raise HotsetError(f"The policy granted a run of {run.queue} where nothing waits.")
        lane.remove(job)
        queue.changed()
        world.start(device, self._jobs[job])

    def _gpu(self, world: World, device: Device) -> GpuView:
        known = self._gpus.get(device.index)
        if known is not None and known[0] == device.version:
            return known[1]
        models = world.fleet.models
        view = GpuView(
            name=device.gpu.name,
            vram_mb=device.vram_mb,
            slots=device.gpu.slots,
            busy=device.busy,
            residents=tuple(
                [Resident(m, models[m].size_mb, at, device.running[m]) for m, at in device.resident.items()]
            ),
            switch=(
                Switch(device.switch_to, device.victims, device.switch_since) if device.switch_to is not None else None
            ),
            speed=device.gpu.speed,
        )
        self._gpus[device.index] = (device.version, view)
        return view
