"""The simulator keeps sums up to date as things happen, and asks nobody who could only wait; a worker adds up at each
look, and always asks."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import pytest

from hotset.lab.schedule_cases import fleet_cases
from hotset.scheduling import Decision, GpuView, Objective, Options, Others, Snapshot, Wait, decide, others
from hotset.simulator import live_policy, simulate
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
    left_alone = 0

    class Checked(live_policy.LivePolicy):
        def decide(self, world: World, device: Device) -> None:
            self._world = world
            super().decide(world, device)

        def _may_act(self, device: Device, sought: Set[str]) -> bool:
            may = super()._may_act(device, sought)
            if not may:
                nonlocal left_alone
                left_alone += 1
                snapshot = replace(self._snapshot(self._world, device, sought), demands=None, sought=None)
                (answer,) = decide(snapshot, self._options)
                assert isinstance(answer, Wait) and answer.until is None
            return may

    monkeypatch.setattr("hotset.simulator.run.LivePolicy", Checked)
    for backlog, loads in CASES:
        for case in (backlog, *loads):
            simulate(case.fleet, case.jobs(), objective=objective)
    assert left_alone > 500
