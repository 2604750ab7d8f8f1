"""The worker's loop and the simulator decide alike: one trace for both, and the same loads and starts come of it.

The real owner of a GPU is stepped by hand through virtual time: its clock, its model server and the lanes are this
world's, its grants are spent by the real desk, what it says goes to a real broker. It is told of each thing at the
moment at which that happens, and looks again when the policy says so (live it looks every quarter of a second).
Runs last as long as their queues say, so that both sides know the same costs however they learn them. What the worker
logs of its decisions on the way is read back and decided again.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotset.broker import Grant, Lanes, LanesState, Released
from hotset.broker.lanes import LaneState
from hotset.fleet import Fleet
from hotset.lab.fleets import single_fleet
from hotset.models import Loaded
from hotset.scheduling import Decision, Objective, Options, Snapshot, Wait
from hotset.simulator import SimJob, simulate
from hotset_worker import gpu as owners
from hotset_worker.decision_log import DecisionLog, read_decisions
from hotset_worker.events import Event, Inferred, Seen, Woken
from hotset_worker.gpu import Owner, Timing
from unit.simulator.worlds import FLEET, poisson

Happening = tuple[float, str, str]


class Clock:
    """In the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def __getattr__(self, name: str) -> Any:
        if name == "sleep":
            raise AssertionError("the owner sleeps")
        return getattr(time, name)


class WaitingJobs(Lanes):
    """The waiting jobs in memory, in the order that `claim.lua` has; everything else is the broker's."""

    def __init__(self, broker_url: str, clock: Clock) -> None:
        super().__init__(broker_url)
        self._clock = clock
        self._jobs: dict[tuple[str, str], list[SimJob]] = {}

    def add(self, job: SimJob) -> None:
        self._jobs.setdefault((job.queue, job.priority), []).append(job)

    def snapshot(self, default_deadlines: Mapping[str, float]) -> LanesState:
        return LanesState(self._clock.now, tuple(self._states()), {})

    def _states(self) -> Iterator[LaneState]:
        for (name, lane), jobs in self._jobs.items():
            deadlines = [job.deadline for job in jobs if job.deadline >= self._clock.now]
            if jobs:
                oldest = min(job.arrive_s for job in jobs)
                yield LaneState(name, lane, len(jobs), oldest, len(deadlines), min(deadlines, default=None))

    def take(self, grant: Grant) -> SimJob | None:
        jobs = self._jobs.get((grant.queue, grant.lane), [])
        savable = [job for job in jobs if job.deadline >= self._clock.now]
        if grant.selector == "savable" and savable:
            taken = min(savable, key=lambda job: (job.deadline, job.id))
        elif jobs:
            taken = min(jobs, key=lambda job: (job.arrive_s, job.id))
        else:
            return None
        jobs.remove(taken)
        return taken


class Server:
    """A model server whose loads last; `busy_until`: when what was asked of it last is done."""

    def __init__(self, fleet: Fleet, clock: Clock, happened: list[Happening]) -> None:
        self._fleet, self._clock, self._happened = fleet, clock, happened
        self._ready_at: dict[str, float] = {}
        self.busy_until = 0.0

    def resident(self) -> tuple[Loaded, ...]:
        sizes = {name: self._fleet.models[name].size_mb for name, at in self._ready_at.items() if at <= self._clock.now}
        return tuple(Loaded(name, mb, mb) for name, mb in sizes.items())

    def load(self, model: str, options: Mapping[str, Any], *, timeout_s: float) -> None:
        self._happened.append((self._clock.now, "load", model))
        self.busy_until = self._ready_at[model] = self._clock.now + self._fleet.models[model].load_s

    def unload(self, model: str, *, timeout_s: float) -> None:
        del self._ready_at[model]


class World:
    """Virtual time around one owner. It is the hub's channel, too: grants are spent as they are issued."""

    def __init__(
        self, fleet: Fleet, jobs: Sequence[SimJob], log: DecisionLog, objective: Objective, broker_url: str
    ) -> None:
        self.happened: list[Happening] = []
        self.clock = Clock()
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], Sequence[Event]]]] = []
        self._lanes = WaitingJobs(broker_url, self.clock)
        self._server = Server(fleet, self.clock, self.happened)
        self._fleet, self._objective, self._log = fleet, objective, log
        for job in jobs:
            self._at(job.arrive_s, lambda job=job: self._arrive(job))

    def run(self) -> None:
        self._owner = Owner(
            self._fleet.gpus[0],
            self._fleet,
            self._server,  # type: ignore[arg-type]
            self._lanes,
            worker="test",
            timing=Timing(scale=1.0, load_timeout_s=60.0),
            options=Options(self._objective),
            load_options=lambda model: {},
            simulated=True,
            decided=self._decided,
        )
        self._owner._hands._threads = self  # type: ignore[assignment]
        self._owner.desk.attach(self, self)
        while self._heap:
            self.clock.now = self._heap[0][0]
            events: list[Event] = []
            while self._heap and self._heap[0][0] <= self.clock.now:
                events += heapq.heappop(self._heap)[2]()
            while events:
                self._owner._step(events)
                events = self._told()
        self._owner.stop()
        self._lanes.close()

    def _decided(self, snapshot: Snapshot, decisions: Sequence[Decision]) -> None:
        self._log(snapshot, decisions)
        for decision in decisions:
            if isinstance(decision, Wait) and decision.until is not None and decision.until > self.clock.now:
                self._at(decision.until, lambda: [Woken()])

    def _at(self, moment: float, what: Callable[[], Sequence[Event]]) -> None:
        heapq.heappush(self._heap, (moment, next(self._numbers), what))

    def _told(self) -> list[Event]:
        """What lies in the owner's mailbox."""
        events: list[Event] = []
        while True:
            try:
                events.append(self._owner._mailbox.get_nowait())
            except queue.Empty:
                return events

    def _arrive(self, job: SimJob) -> list[Event]:
        self._lanes.add(job)
        return [Woken()]

    # ---- hands -----------------------------------------------------------------------------------------------

    def submit(self, work: Callable[[], None]) -> None:
        """At once; what it tells the owner comes when the server is done with it."""
        before = self._told()
        self._server.busy_until = self.clock.now
        work()
        for event in self._told():
            self._at(self._server.busy_until, lambda event=event: [event])
        for event in before:
            self._owner.tell(event)

    def shutdown(self, **how: Any) -> None:
        pass

    # ---- hub and channel -------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()

    def spend(self, grant: Grant) -> str | None:
        job = self._lanes.take(grant)
        if job is None:
            return "the lane is empty"
        self.happened.append((self.clock.now, "start", job.id))
        self._owner.desk.spent(grant, job.id)
        self._at(self.clock.now + job.run_s, lambda: [Inferred(job.id, job.queue, job.run_s), Released(job.id)])
        return None


def live(
    fleet: Fleet, jobs: Sequence[SimJob], log: DecisionLog, objective: Objective, url: str, patch: pytest.MonkeyPatch
) -> list[Happening]:
    world = World(fleet, jobs, log, objective, url)
    patch.setattr(owners, "_BUSY_LOOK_S", 0.0)  # a look that is put off by 50 ms is as good; here it would be lost
    _by_its_clock(world, patch)
    world.run()
    return world.happened


def _by_its_clock(world: World, patch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("hotset_worker.") and getattr(module, "time", None) is time:
            patch.setattr(module, "time", world.clock)


def simulated(fleet: Fleet, jobs: Sequence[SimJob], objective: Objective) -> list[Happening]:
    happened: list[Happening] = []

    def note(event: Mapping[str, Any]) -> None:
        if event["event"] in ("load", "start"):
            happened.append((event["t"], event["event"], event.get("job") or event["model"]))

    simulate(fleet, jobs, objective=objective, trace=note)
    return happened


def as_estimated(fleet: Fleet, load: float, count: int, seed: int) -> list[SimJob]:
    """Every seventh job is urgent, every tenth of low priority; deadlines scatter."""
    jobs = poisson(load, count, seed, fleet=fleet)
    ranks = {0: "urgent", 3: "low"}
    return [
        replace(
            job,
            run_s=fleet.queues[job.queue].run_s,
            priority=ranks.get(i % 7 if i % 10 else 3, "normal"),
            deadline_s=job.deadline_s * (0.5 + i % 5 / 3),
        )
        for i, job in enumerate(jobs)
    ]


@pytest.mark.parametrize(
    ("load", "regime", "objective"),
    [
        (0.5, "classic", "deadlines"),
        (0.85, "classic", "balanced"),
        (1.2, "classic", "throughput"),
        (0.5, "single", "balanced"),
        (0.85, "single", "deadlines"),
        (3.0, "single", "balanced"),
    ],
)
def test_the_worker_and_the_simulator_load_and_start_the_same(
    load: float, regime: str, objective: Objective, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = FLEET if regime == "classic" else single_fleet()
    jobs = as_estimated(fleet, load, 120, seed=round(load * 100))
    log = DecisionLog(tmp_path / "decisions.jsonl", fleet.gpus[0].name, Options(objective))

    done = live(fleet, jobs, log, objective, broker_url, monkeypatch)
    expected = simulated(fleet, jobs, objective)

    assert [(what, name) for _, what, name in done] == [(what, name) for _, what, name in expected]
    assert [t for t, _, _ in done] == pytest.approx([t for t, _, _ in expected])
    assert sum(what == "start" for _, what, _ in done) == len(jobs)
    assert sum(what == "load" for _, what, _ in done) >= 3

    log.close()
    recorded = list(read_decisions(tmp_path / "decisions.jsonl"))
    answers = [answer["decision"] for each in recorded for answer in each.answer]
    assert answers.count("Run") == len(jobs)
    assert answers.count("Load") == sum(what == "load" for _, what, _ in done)
    for each in recorded:
        assert each.again() == each.answer


def test_a_worker_that_starts_beside_a_loaded_model_asks_before_it_decides(
    broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model server has said what it holds, all VRAM looks free and every model cold."""
    (queue_of,) = [q for q in FLEET.queues.values() if q.tier == "complex"]
    job = replace(poisson(0.5, 1, 1, fleet=FLEET)[0], queue=queue_of.name, arrive_s=0.0)
    log = DecisionLog(tmp_path / "decisions.jsonl", FLEET.gpus[0].name, Options())
    world = World(FLEET, [job], log, "balanced", broker_url)
    world._server._ready_at[queue_of.model] = -10.0
    _by_its_clock(world, monkeypatch)
    world.run()
    log.close()
    assert world.happened == [(0.0, "start", job.id)] and world._owner._hot.swaps == 0


def test_a_model_that_its_own_runs_bring_back_is_not_loaded_beside_them(
    broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client had it evicted before our run reached the server, which loads it again for that run. A load of
    ours would come after that, set its keep_alive back and let the next one who waits for the VRAM wait for ever."""
    (queue_of,) = [q for q in FLEET.queues.values() if q.tier == "complex"]
    first = replace(poisson(0.5, 1, 1, fleet=FLEET)[0], queue=queue_of.name, arrive_s=0.0, run_s=40.0)
    second = replace(first, id="second", arrive_s=FLEET.models[queue_of.model].load_s + 10.0)
    log = DecisionLog(tmp_path / "decisions.jsonl", FLEET.gpus[0].name, Options())
    world = World(FLEET, [first, second], log, "balanced", broker_url)
    evicted_at = second.arrive_s - 1.0

    def evict() -> list[Event]:
        del world._server._ready_at[queue_of.model]
        return [Seen((), world._owner._sequence)]

    world._at(evicted_at, evict)
    _by_its_clock(world, monkeypatch)
    world.run()
    log.close()
    ends = FLEET.models[queue_of.model].load_s + first.run_s
    loads = [at for at, what, _ in world.happened if what == "load"]
    assert loads == [0.0, ends] and evicted_at < second.arrive_s < ends
    assert [name for _, what, name in world.happened if what == "start"] == [first.id, second.id]
