"""A workload that answers back: agents that wait for each answer before they ask again."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Mapping

from hotset.errors import UsageError
from hotset.fleet import Fleet, Queue
from hotset.simulator.jobs_file import SimJob
from hotset.simulator.workloads import Dice, Workload, check, chooser, draw_agents, job_shares, log_normal


class ClosedLoop:
    """Agents that each wait for their answer, think, and ask again: arrivals depend on what the policy does.

    Iterate over it for each agent's first job; hand `finished` to the simulation, which asks it for the job that
    follows. Everybody goes on until all have `rounds` answers, so that `answers` (agent -> how many it had by then) is
    a fair count of who got how much. An agent's k-th job and pause are the same under every policy. Use it once.
    """

    def __init__(self, fleet: Fleet, workload: Workload, *, rounds: int = 30, think_s: float = 60.0) -> None:
        """`workload.agents`, its mix, cv, tenants and priorities count; its kind, load and number of jobs do not."""
        check(fleet, workload)
        if workload.agents < 1 or rounds < 1 or not 0 <= think_s < math.inf:
            raise UsageError(
                "A closed loop needs agents, rounds and a time to think.",
                remedy="Give at least 1 agent, at least 1 round, and 0 or more seconds.",
            )
        dice = Dice(workload.seed)
        shares = job_shares(fleet, workload)
        count = _seats(shares, workload.agents)
        tenant = chooser(workload.tenants, dice("tenants"))
        priority = chooser(workload.priorities, dice("priorities"))
        self.rounds = rounds
        self.answers: dict[str, int] = {}
        self.queue_of: dict[str, str] = {}
        self._agents: dict[str, _LoopAgent] = {}
        for name, seats in count.items():
            own = draw_agents(name, workload, seats / workload.agents, dice)
            for agent, factor in own[:seats]:
                self.answers[agent], self.queue_of[agent] = 0, name
                self._agents[agent] = _LoopAgent(
                    agent, fleet.queues[name], workload, factor, think_s, tenant(), priority(), dice(f"loop {agent}")
                )
        self._short = len(self._agents)

    def __iter__(self) -> Iterator[SimJob]:
        return iter(sorted((agent.next(0.0) for agent in self._agents.values()), key=lambda job: job.arrive_s))

    def finished(self, job: SimJob, now: float) -> SimJob | None:
        """The agent's next job, when it has thought; None when everybody has had the answers asked for."""
        if not self._short:
            return None
        self.answers[job.agent] += 1
        if self.answers[job.agent] == self.rounds:
            self._short -= 1
        return self._agents[job.agent].next(now) if self._short else None


class _LoopAgent:
    def __init__(
        self,
        name: str,
        queue: Queue,
        workload: Workload,
        factor: float,
        think_s: float,
        tenant: str,
        priority: str,
        rng: random.Random,
    ) -> None:
        self._name, self._queue, self._factor, self._think_s = name, queue, factor, think_s
        self._tenant, self._priority, self._rng = tenant, priority, rng
        self._deadline_s = queue.deadline_s * workload.deadline_factor
        self._mu, self._sigma = log_normal(workload.cv)
        self._asked = 0

    def next(self, now: float) -> SimJob:
        self._asked += 1
        pause = self._rng.expovariate(1.0) * self._think_s
        run_s = self._queue.run_s * self._factor * math.exp(self._mu + self._sigma * self._rng.gauss(0.0, 1.0))
        return SimJob(
            f"{self._name}-{self._asked:05d}",
            now + pause,
            self._queue.name,
            run_s,
            self._deadline_s,
            self._name,
            self._priority,
            self._tenant,
        )


def _seats(shares: Mapping[str, float], agents: int) -> dict[str, int]:
    """Whole agents by share, the largest remainders first; every queue that has a share gets one while they last."""
    seats = {name: int(agents * share) for name, share in shares.items()}
    order = [(0 if seats[n] == 0 else 1, seats[n] - agents * share, n) for n, share in shares.items()]
    heapq.heapify(order)
    for _ in range(agents - sum(seats.values())):
        _, _, name = heapq.heappop(order)
        seats[name] += 1
    return {name: n for name, n in seats.items() if n}
