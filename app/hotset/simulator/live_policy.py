"""The policy of the live worker in the virtual world: the same `decide`, the same lanes, a snapshot each time.

What a snapshot sums up is kept up to date as things happen, so that a decision for one GPU of a thousand costs what
it costs for one of two: queues keep their view until something in them changes, and the other GPUs are a sum from
which the deciding one is taken out.
"""

from __future__ import annotations

from collections.abc import Set
from time import thread_time_ns

from hotset.errors import HotsetError
from hotset.fleet import Fleet
from hotset.scheduling import (
    NOBODY,
    GiveUp,
    GpuView,
    Load,
    Options,
    Others,
    Resident,
    Run,
    Snapshot,
    Supply,
    Switch,
    decide,
)
from hotset.scheduling.snapshot import held
from hotset.simulator.board import Board, Sought
from hotset.simulator.devices import Device
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.result import Result
from hotset.simulator.world import World


class _Gpus:
    """The view of each GPU and their sum, both renewed only for those that changed."""

    def __init__(self, fleet: Fleet, devices: int) -> None:
        self._fleet = fleet
        self._views: list[GpuView | None] = [None] * devices
        self._stale = dict.fromkeys(range(devices))
        self.supply: dict[str, Supply] = {}
        self._parts: list[tuple[dict[str, int], float]] = [({}, 0.0)] * devices  # what each offers, and its power
        self._power = 0.0
        self._rooms: dict[float, float] = {}

    def changed(self, device: Device) -> None:
        self._stale[device.index] = None

    def renew(self, world: World) -> set[str]:
        """Take in those that changed. The models whose supply may be another."""
        touched: set[str] = set()
        for index in self._stale:
            self._renew(index, world.devices[index], touched)
        self._stale.clear()
        return touched

    def look(self, world: World, device: Device) -> tuple[GpuView, Others]:
        """One GPU as it is, and the sum of all others at the last `renew`."""
        alone = len(world.devices) == 1
        view = self._views[device.index]
        if view is None or (alone and self._stale):
            view = self._views[device.index] = self._view(device)
        if alone:
            self._stale.clear()
            return view, NOBODY
        models, power = self._parts[device.index]
        supply = dict(self.supply)
        for model, soon in models.items():
            _add(supply, model, -1, -power / len(models), -soon)
        rooms = dict(self._rooms)
        _give(rooms, device.vram_mb, -power)
        return view, Others(world.devices_up - 1, self._power - power, supply, rooms)

    def _renew(self, index: int, device: Device, touched: set[str]) -> None:
        self._views[index] = None
        before, their_power = self._parts[index]
        models: dict[str, int] = {}
        power = 0.0
        if device.up:
            models = self._held(device)
            power = device.gpu.slots * device.gpu.speed
        if power != their_power:
            self._power += power - their_power
            _give(self._rooms, device.vram_mb, power - their_power)
        if power == their_power and models.keys() == before.keys():
            for model, soon in models.items():
                replicas, offered, slots = self.supply[model]
                self.supply[model] = Supply(replicas, offered, slots + soon - before[model])
        else:
            for model, soon in before.items():
                _add(self.supply, model, -1, -their_power / len(before), -soon)
            for model, soon in models.items():
                _add(self.supply, model, 1, power / len(models), soon)
            touched.update(before)
        touched.update(models)
        self._parts[index] = models, power

    def _held(self, device: Device) -> dict[str, int]:
        if device.switch_to is None:
            return dict.fromkeys(device.resident, max(0, device.gpu.slots - device.busy))
        return held(self._view(device))

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
        self._board = Board(fleet)
        self._gpus = _Gpus(fleet, len(fleet.gpus))
        self._sought = Sought(fleet) if len(fleet.gpus) > 1 else None
        self._runs: dict[str, float] = {}
        for queue in self._board.queues.values():
            self._learned(queue.model)

    def arrived(self, job: SimJob) -> None:
        self._board.add(job)
        self._jobs[job.id] = job

    def finished(self, job: SimJob, device: Device) -> None:
        queue = self._board.queues[job.queue]
        queue.waiting.correct(job.tenant, job.agent, job.run_s - device.charged.pop(job.id))
        self._board.learn(queue, job.run_s)
        self._learned(queue.model)

    def returned(self, job: SimJob, device: Device) -> None:
        self._board.queues[job.queue].waiting.correct(job.tenant, job.agent, -device.charged.pop(job.id))
        self.arrived(job)

    def changed(self, device: Device) -> None:
        self._gpus.changed(device)

    def _learned(self, model: str) -> None:
        self._runs = {**self._runs, model: self._board.longest_run_s(model)}

    def decide(self, world: World, device: Device) -> None:
        if device.busy >= device.gpu.slots:
            if not self._may_switch(device):
                return
        elif not self._board and device.switch_to is None:
            return
        self._renew(world)
        sought = self._sought_by(device)
        if not self._may_act(device, sought):
            return
        snapshot = self._snapshot(world, device, sought)
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

    def _renew(self, world: World) -> None:
        """Take in what has happened since the last look of any GPU."""
        touched = self._board.renew(world.now)
        if self._sought is not None:
            self._sought.changed(touched | self._gpus.renew(world), self._board.demands, self._gpus.supply)

    def _sought_by(self, device: Device) -> Set[str] | None:
        """The models that it could load with profit; None: with one GPU it could be any."""
        return self._sought.by(device) if self._sought is not None else None

    def _snapshot(self, world: World, device: Device, sought: Set[str] | None) -> Snapshot:
        board, fleet = self._board, self._fleet
        view, others = self._gpus.look(world, device)
        return Snapshot(
            world.now,
            board.views(),
            view,
            fleet.models,
            self._runs,
            fleet.max_wait_s,
            others,
            board.demands,
            None if sought is None else tuple([model for model in board.demands if model in sought]),
        )

    def _may_act(self, device: Device, sought: Set[str] | None) -> bool:
        """Could the policy start, load or give up anything? If not, nobody needs a snapshot: in large fleets most of
        the looks, of one GPU alone those while it switches."""
        demands, resident = self._board.demands, device.resident
        if device.switch_to is not None:
            stay = [model for model in resident if model not in device.victims]
            return device.switch_to not in demands or not demands.keys().isdisjoint(stay)
        return sought is None or not (demands.keys().isdisjoint(resident) and resident.keys() >= sought)

    def _may_switch(self, device: Device) -> bool:
        """Could the policy do more than wait, with all slots taken? If not, nobody needs a snapshot: most looks."""
        waiting = self._board.models()
        if device.switch_to is not None:
            return device.switch_to not in waiting  # it may drain for nobody
        models, resident = self._fleet.models, device.resident
        room = device.vram_mb - sum([models[name].size_mb for name, running in device.running.items() if running])
        return any(models[name].size_mb <= room for name in waiting if name not in resident)

    def _run(self, world: World, device: Device, run: Run) -> None:
        queue = self._board.queues[run.queue]
        expected_s = queue.run_s
        job = self._board.take(queue, run.lane, run.selector, world.now)
        if job is None:
            raise HotsetError(f"The policy granted a run of {run.queue} where nothing waits.")
        device.charged[job] = expected_s
        world.start(device, self._jobs.pop(job))
