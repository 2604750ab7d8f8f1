"""The simulator keeps sums up to date as things happen, and asks nobody who could only wait; a worker adds up at each
look, and always asks. And the policy leaves out what could change no answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace

import pytest

from hotset.fleet import Gpu
from hotset.lab.schedule_cases import backlog_cases, fleet_cases, kinds_cases, regimes, single_cases
from hotset.scheduling import (
    OBJECTIVES,
    Decision,
    Demand,
    GpuView,
    Objective,
    Options,
    Others,
    QueueView,
    Snapshot,
    Wait,
    decide,
    others,
    policy,
    run,
)
from hotset.scheduling.loads import candidates, forced_load, may_load, spare_load
from hotset.scheduling.scarce import smallest_mb
from hotset.simulator import SimJob, live_policy, simulate
from hotset.simulator.board import Board
from hotset.simulator.devices import Device, Outage
from hotset.simulator.world import World


def test_the_running_sum_of_the_others_is_the_sum_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    class Checked(live_policy._Gpus):
        def look(self, world: World, device: Device) -> tuple[GpuView, Others]:
            view, kept = super().look(world, device)
            added = others(self._view(d) for d in world.devices if d.up and d is not device)
            assert kept.gpus == added.gpus and kept.power == pytest.approx(added.power)
            assert dict(kept.rooms) == pytest.approx(dict(added.rooms))
            assert kept.supply.keys() == added.supply.keys()
            for model, supply in kept.supply.items():
                assert supply == pytest.approx(added.supply[model])
            looks.append(device.index)
            return view, kept

    monkeypatch.setattr(live_policy, "_Gpus", Checked)
    backlog, loads = fleet_cases(1, 4, 3, 200)
    for case in (backlog, *loads):
        simulate(case.fleet, case.jobs())
    assert len(looks) > 100 and len(set(looks)) == 4


CASES = [fleet_cases(seed, gpus, models, 150) for seed, gpus, models in ((1, 4, 3), (2, 16, 8))]


def test_the_kept_sums_of_the_queues_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def both(snapshot: Snapshot, options: Options) -> tuple[Decision, ...]:
        nonlocal asked
        asked += 1
        answer = decide(snapshot, options)
        assert snapshot.demands is not None and snapshot.sought is not None
        assert decide(replace(snapshot, demands=None, sought=None), options) == answer
        return answer

    monkeypatch.setattr(live_policy, "decide", both)
    for _, loads in CASES:
        for case in loads:
            outages = [Outage(case.fleet.gpus[1].name, 30.0, 90.0)]
            simulate(case.fleet, case.jobs(), outages=outages)
    assert asked > 1000


@pytest.mark.parametrize("objective", ["balanced", "deadlines"])
def test_a_gpu_that_is_not_asked_could_only_have_waited(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    left_alone = {"switching": 0, "idle": 0}

    class Checked(live_policy.LivePolicy):
        def decide(self, world: World, device: Device) -> None:
            self._world = world
            super().decide(world, device)

        def _may_act(self, device: Device, sought: Set[str] | None) -> bool:
            may = super()._may_act(device, sought)
            if not may:
                left_alone["idle" if device.switch_to is None else "switching"] += 1
                snapshot = replace(self._snapshot(self._world, device, sought), demands=None, sought=None)
                (answer,) = decide(snapshot, self._options)
                assert isinstance(answer, Wait) and answer.until is None
            return may

    monkeypatch.setattr("hotset.simulator.run.LivePolicy", Checked)
    for case in (*single_cases(1, 150), *(case for backlog, loads in CASES for case in (backlog, *loads))):
        simulate(case.fleet, case.jobs(), objective=objective)
    assert min(left_alone.values()) > 400


def test_a_gpu_that_drains_for_nobody_any_more_is_asked_although_nothing_that_stays_is_waited_for() -> None:
    (_, apart) = regimes()[1]
    fleet = replace(apart, gpus=(Gpu("gpu0", 3686.0), Gpu("gpu1", 3686.0)))
    jobs = [
        SimJob("long", 0.0, "qwen", 400.0, 900.0),
        *(SimJob(f"deep{i}", 1.0, "deepseek", 5.0, 60.0) for i in range(3)),
        SimJob("look", 48.0, "qwen", 1.0, 900.0),  # gpu0 begins to drain for the deadlines of deepseek
        SimJob("later", 330.0, "qwen", 5.0, 900.0),  # gpu1 came back meanwhile and has served them
    ]
    events: list[Mapping[str, object]] = []
    simulate(fleet, jobs, trace=events.append, outages=[Outage("gpu1", 0.0, 200.0)])
    at = {e["job"]: (e["t"], e["gpu"]) for e in events if e["event"] == "start"}
    assert at["deep2"][1] == "gpu1" and at["later"] == (330.0, "gpu0")
    assert [e["model"] for e in events if e["event"] == "load" and e["gpu"] == "gpu0"] == ["qwen2.5-coder:7b"]


def test_the_kept_views_of_the_queues_are_those_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    class Checked(Board):
        def renew(self, now: float) -> Set[str]:
            nonlocal looks
            touched = super().renew(now)
            for queue in self.queues.values():
                lanes = queue.lanes_at(now)
                assert queue.view == (QueueView(queue.name, queue.model, queue.run_s, lanes) if lanes else None)
            looks += 1
            return touched

    monkeypatch.setattr(live_policy, "Board", Checked)
    for case in (*single_cases(1, 150), *CASES[0][1]):
        simulate(case.fleet, case.jobs())
    assert looks > 1000


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_where_nobody_is_looked_at_closely_nothing_would_be_loaded(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {True: 0, False: 0}

    def checked(
        snapshot: Snapshot,
        cold: Sequence[Demand],
        waiting: Mapping[str, Demand],
        overdue: float,
        backlog: float,
        options: Options,
    ) -> bool:
        may = may_load(snapshot, cold, waiting, overdue, backlog, options)
        told[may] += 1
        if not may:
            closely = candidates(snapshot, cold, waiting)
            assert spare_load(snapshot, closely, waiting, overdue, backlog) is None
            assert forced_load(snapshot, closely, waiting, overdue, backlog, options) is None
        return may

    monkeypatch.setattr(policy, "may_load", checked)
    alone = (*single_cases(3, 400), *kinds_cases(3, 400), *backlog_cases(3, 400))
    for case in (*alone, *(case for backlog, loads in CASES for case in (backlog, *loads))):
        simulate(case.fleet, case.jobs(), objective=objective)
    assert told[True] > 1000 and told[False] > 1000


def test_models_are_left_to_smaller_gpus_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    matters, not_asked = 0, 0
    quick = run.left_to_smaller

    def always(snapshot: Snapshot, waiting: Mapping[str, Demand], models: Collection[str]) -> Set[str]:
        least = smallest_mb(snapshot, waiting)
        return {model for model in models if snapshot.models[model].size_mb < least}

    def both(snapshot: Snapshot, options: Options) -> tuple[Decision, ...]:
        nonlocal matters, not_asked
        hot = {r.model for r in snapshot.gpu.residents} & {queue.model for queue in snapshot.queues}
        waiting = snapshot.demands or {}
        matters += bool(quick(snapshot, waiting, hot))
        not_asked += not quick(snapshot, waiting, hot) and bool(always(snapshot, waiting, hot))
        answer = decide(snapshot, options)
        with monkeypatch.context() as patch:
            patch.setattr(run, "left_to_smaller", always)
            assert decide(snapshot, options) == answer
        return answer

    monkeypatch.setattr(live_policy, "decide", both)
    for backlog, loads in CASES:
        for case in (backlog, *loads):
            simulate(case.fleet, case.jobs())
    assert matters > 10 and not_asked > 10
