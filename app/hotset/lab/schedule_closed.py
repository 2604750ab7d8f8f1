"""Agents in a closed loop on one small GPU: who got how many answers while everybody waited for theirs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet
from hotset.simulator import Policy
from hotset.simulator.closed_loop import ClosedLoop
from hotset.simulator.loop import simulate_loop
from hotset.simulator.workloads import Workload

AGENTS, ROUNDS = 131, 30
#: So that the GPU is kept busy and agents of one tier compete.
THINK_S = 300.0


def closed_loop(
    seed: int, policy: Policy = "hotset", *, fleet: Fleet | None = None, agents: int = AGENTS, rounds: int = ROUNDS
) -> dict[str, float]:
    """`fewest` answers of an agent, and the least `fairness` (Jain) among the agents of one queue, at the moment when
    everybody had `rounds`; beside them what the GPU did."""
    fleet = fleet or classic_fleet()
    loop = ClosedLoop(fleet, Workload(seed=seed, agents=agents), rounds=rounds, think_s=THINK_S)
    report = simulate_loop(fleet, loop, policy).report()
    return {
        "fewest": float(min(loop.answers.values())),
        "fairness": min(fairness_by_queue(loop).values()),
        "throughput_per_h": report["throughput_per_h"],
        "goodput": report["goodput"],
        "max_wait_violations": float(report["max_wait_violations"]),
        "wait_s_max": report["wait_s"]["max"],
    }


def fairness_by_queue(loop: ClosedLoop) -> Mapping[str, float]:
    by_queue: dict[str, list[float]] = {}
    for agent, count in loop.answers.items():
        by_queue.setdefault(loop.queue_of[agent], []).append(float(count))
    return {queue: jain(counts) for queue, counts in by_queue.items()}


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all have alike, 1/n if one has all (Jain, Chiu, Hawe 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
