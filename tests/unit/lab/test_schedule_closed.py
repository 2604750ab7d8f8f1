"""Who gets how much in a closed loop, in the simulator."""

from __future__ import annotations

from hotset.fleet_file import classic_fleet
from hotset.lab.schedule_closed import Burst, burst, jain
from hotset.simulator.loop import simulate_loop
from hotset.simulator.workloads import Workload


def test_a_burst_far_beyond_capacity_is_served_alike() -> None:
    """Newcomers could be in time and all others are late: before the rule for crowds Jain's index was 0.01 here."""
    assert burst(2, agents=700)["burst_fairness"] >= 0.95


def test_agents_of_a_burst_leave_when_they_have_all() -> None:
    fleet = classic_fleet()
    loop = Burst(fleet, Workload(agents=30), rounds=3)
    assert simulate_loop(fleet, loop).jobs == 90
    assert set(loop.answers.values()) == {3}
    assert loop.at_first.keys() == set(loop.queue_of.values())
    assert all(max(counts) == 3 and 0 < jain(counts) <= 1 for counts in loop.at_first.values())
