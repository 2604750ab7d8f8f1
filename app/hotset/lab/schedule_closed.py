"""Agents in a closed loop on one small GPU: who got how many answers while everybody waited for theirs?

A burst is the hardest of them: far more agents than can be in time ask at once, and again with each answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet
from hotset.simulator import Policy, SimJob
from hotset.simulator.closed_loop import ClosedLoop
from hotset.simulator.loop import simulate_loop
from hotset.simulator.workloads import Workload

AGENTS, ROUNDS = 131, 30
#: So that the GPU is kept busy and agents of one tier compete.
THINK_S = 300.0
#: As `hotset bench burst`, live: agents, their jobs, and the jobs' runs, as a part of what their queue says.
BURST_AGENTS, BURST_ROUNDS, BURST_RUN = 1000, 5, 0.1


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


class Burst(ClosedLoop):
    """All ask at once, and again with each answer, until they have `rounds`. `at_first`: queue -> the answers of each
    of its agents when the first of them had all."""

    def __init__(self, fleet: Fleet, workload: Workload, *, rounds: int) -> None:
        super().__init__(fleet, workload, rounds=rounds, think_s=0.0)
        self.at_first: dict[str, list[int]] = {}

    def finished(self, job: SimJob, now: float) -> SimJob | None:
        following = super().finished(job, now)
        if self.answers[job.agent] < self.rounds:
            return following
        if job.queue not in self.at_first:
            self.at_first[job.queue] = [n for agent, n in self.answers.items() if self.queue_of[agent] == job.queue]
        return None


def burst(
    seed: int, policy: Policy = "hotset", *, agents: int = BURST_AGENTS, rounds: int = BURST_ROUNDS
) -> dict[str, float]:
    """The least `burst_fairness` (Jain) among the agents of one queue, when the first of them had all its answers."""
    fleet = classic_fleet()
    queues = {name: replace(queue, run_s=BURST_RUN * queue.run_s) for name, queue in fleet.queues.items()}
    loop = Burst(replace(fleet, queues=queues), Workload(seed=seed, agents=agents), rounds=rounds)
    simulate_loop(fleet, loop, policy)
    return {"burst_fairness": min(jain(counts) for counts in loop.at_first.values())}


def fairness_by_queue(loop: ClosedLoop) -> Mapping[str, float]:
    by_queue: dict[str, list[float]] = {}
    for agent, count in loop.answers.items():
        by_queue.setdefault(loop.queue_of[agent], []).append(float(count))
    return {queue: jain(counts) for queue, counts in by_queue.items()}


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all have alike, 1/n if one has all (Jain, Chiu, Hawe 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
