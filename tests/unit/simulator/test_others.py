"""The simulator keeps the sum of the other GPUs up to date as things happen; a worker adds it up at each look."""

from __future__ import annotations

import pytest

from hotset.lab.schedule_cases import fleet_cases
from hotset.scheduling import GpuView, Others, others
from hotset.simulator import live_policy, simulate
from hotset.simulator.devices import Device
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
