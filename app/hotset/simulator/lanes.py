"""A queue's waiting jobs in memory: the reference for which job a grant takes, and for who is served next.

The live worker does the same in Redis; a conformance test runs both. Ties go to the smaller name, byte by byte, as in
a sorted set. The clock never goes back.

Fairness, in one rule: a grant for an overdue job takes the oldest, whoever it belongs to. Any other takes the job that
its selector names, unless that job's tenant (or its agent, inside the tenant) was served more than `credit` ahead of
the least served one that waits in the lane; then it takes what the selector names among the jobs of the least served
tenant's least served agent. Served is measured by accounts: virtual times in expected slot seconds ÷ weight, charged
at claim and corrected by the true run at the end (start-time fair queueing, Goyal 1996). Whoever comes back after a
time without waiting jobs starts at the clock at least: at what everybody had by now who waited all the time, if all had
alike (generalised processor sharing: Parekh, Gallager 1993). So newcomers do not go before those who wait for ever.

In a crowd, which is when more than `CROWD` agents (or tenants) wait in the lane and its oldest job is late, not
everybody can be in time, and many small leads put the others back for long. There the credit falls with the square of
their number. Who is beyond it gives way to the oldest job, whose owner may be ahead by three full credits: of many, the
least served one is far behind most others by chance alone, since runs differ. Beyond that it is that one's turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from hotset.scheduling import Selector

#: How far ahead of the least served one a tenant or an agent may be, in expected runs of the queue: so much is left to
#: deadlines before shares decide.
CREDIT_RUNS = 2.5
#: Of more than so many that wait in a lane whose oldest job is late, the credit falls with the square of their number.
CROWD = 60
#: How many credits the oldest job may be ahead in a crowd.
_OLDEST_CREDITS = 3
_PASSED = float("-inf")


class Jobs:
    """Jobs by arrival and by deadline, each with its two moments (model seconds). All costs O(log n), amortised."""

    __slots__ = ("_arrived", "_by_arrival", "_by_deadline", "_savable", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, float] = {}
        self._arrived: dict[str, float] = {}
        # Heaps; what was removed stays until it comes up (also if the job has come again), what has passed its
        # deadline leaves the second for good.
        self._by_arrival: list[tuple[float, str]] = []
        self._by_deadline: list[tuple[float, str]] = []
        self._savable = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job: str) -> bool:
        return job in self._waiting

    def add(self, job: str, arrival: float, deadline: float) -> None:
        self._waiting[job] = deadline
        self._arrived[job] = arrival
        heapq.heappush(self._by_arrival, (arrival, job))
        heapq.heappush(self._by_deadline, (deadline, job))
        self._savable += 1

    def remove(self, job: str, now: float) -> None:
        if self._waiting.pop(job) != _PASSED:
            self._savable -= 1
        del self._arrived[job]
        arrivals, arrived = self._by_arrival, self._arrived
        while arrivals and arrived.get(arrivals[0][1]) != arrivals[0][0]:
            heapq.heappop(arrivals)
        self.advance(now)

    def advance(self, now: float) -> None:
        """Forget deadlines that have passed, and those of jobs that are gone."""
        heap, waiting = self._by_deadline, self._waiting
        while heap and (heap[0][0] < now or waiting.get(heap[0][1]) != heap[0][0]):
            deadline, job = heapq.heappop(heap)
            if waiting.get(job) == deadline:
                waiting[job] = _PASSED  # hopeless from now on
                self._savable -= 1

    def pick(self, selector: Selector, now: float) -> str | None:
        """`overdue`, `oldest`: the earliest arrival. `savable`: the earliest deadline ≥ now; none left: the earliest
        arrival. The job stays."""
        if selector == "savable":
            self.advance(now)
            if self._by_deadline:
                return self._by_deadline[0][1]
        return self._by_arrival[0][1] if self._by_arrival else None

    def oldest_arrival(self) -> float | None:
        """The earliest arrival; None without jobs."""
        return self._by_arrival[0][0] if self._by_arrival else None

    def late(self, now: float) -> bool:
        """Has the oldest job missed its deadline? There must be one."""
        return self._waiting[self._by_arrival[0][1]] < now

    def savable(self, now: float) -> tuple[int, float | None]:
        """How many deadlines are ≥ now, and the earliest of them."""
        self.advance(now)
        return self._savable, self._by_deadline[0][0] if self._by_deadline else None


class Accounts:
    """Virtual times of those who share something: tenants of a queue, or agents of a tenant in it."""

    __slots__ = ("_heaps", "_members", "_served", "clock")

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        self._members: dict[str, dict[str, None]] = {}  # lane -> who has jobs in it
        self._heaps: dict[str, list[tuple[float, str]]] = {}
        self.clock = 0.0

    def join(self, lane: str, name: str) -> None:
        """That one has jobs in the lane now. Time that it spent with nothing waiting anywhere earns nothing."""
        members = self._members.setdefault(lane, {})
        if name in members:
            return
        for others in self._members.values():
            if name in others:
                break
        else:
            self._served[name] = max(self._served.get(name, 0.0), self.clock)
        members[name] = None
        heapq.heappush(self._heaps.setdefault(lane, []), (self._served[name], name))

    def leave(self, lane: str, name: str) -> None:
        self._members[lane].pop(name, None)

    def count(self, lane: str) -> int:
        """How many have jobs in the lane."""
        return len(self._members[lane])

    def least(self, lane: str) -> tuple[float, str]:
        """The least served in the lane. There must be one."""
        heap, members, served = self._heaps[lane], self._members[lane], self._served
        while heap[0][1] not in members or served[heap[0][1]] != heap[0][0]:
            heapq.heappop(heap)
        return heap[0]

    def ahead(self, lane: str, name: str) -> float:
        """By how much that one was served more than the least served in the lane."""
        if len(self._members[lane]) == 1:
            return 0.0
        return self._served[name] - self.least(lane)[0]

    def charge(self, name: str, seconds: float) -> None:
        """At claim (seconds > 0), or the correction at the end."""
        served = self._served.get(name, self.clock) + seconds
        self._served[name] = served
        alone = True
        for lane, members in self._members.items():
            if name in members:
                heapq.heappush(self._heaps[lane], (served, name))
                alone = False
        if alone and served <= self.clock:
            del self._served[name]  # it would start at the clock anyhow

    def tick(self, lane: str, seconds: float, credit_s: float) -> None:
        """Before a claim in the lane: the clock goes on as if all who wait there shared the run. It stays within the
        credit and this run of the least served one of them, whom runs longer than expected may have put ahead of it."""
        least = self.least(lane)[0]
        shared = max(least, self.clock + seconds / len(self._members[lane]))
        self.clock = max(self.clock, min(shared, least + credit_s + seconds))


class Queue:
    """One queue: its lanes (by priority; suspects have their own) and the accounts of its tenants and their agents."""

    def __init__(self, weights: Mapping[str, float] | None = None, credit_s: float | None = None) -> None:
        self._weights = weights or {}
        self._credit_s = credit_s
        self._lanes: dict[str, Jobs] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._of_agent: dict[tuple[str, str, str], Jobs] = {}  # (lane, tenant, agent)
        self._tenants = Accounts()
        self._agents: dict[str, Accounts] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def lanes(self) -> Mapping[str, Jobs]:
        return self._lanes

    def add(self, lane: str, job: str, arrival: float, deadline: float, *, tenant: str, agent: str) -> None:
        """ValueError if the job waits in this queue already."""
        if job in self._owners:
            raise ValueError(f"Job {job} waits in this queue already.")
        self._owners[job] = (tenant, agent)
        for jobs in (
            self._lanes.setdefault(lane, Jobs()),
            self._of_agent.setdefault((lane, tenant, agent), Jobs()),
        ):
            jobs.add(job, arrival, deadline)
        self._tenants.join(lane, tenant)
        self._agents.setdefault(tenant, Accounts()).join(lane, agent)

    def pick(self, lane: str, selector: Selector, now: float, seconds: float = 0.0) -> str | None:
        """The job that a grant for a run of so many seconds would take, left where it is; None if the lane is empty."""
        jobs = self._lanes.get(lane)
        if jobs is None:
            return None
        job = jobs.pick(selector, now)
        if job is None or selector == "overdue":
            return job
        credit_s = self._credit(seconds)
        many = max(self._tenants.count(lane), self._agents[self._owners[job][0]].count(lane))
        if many > CROWD and jobs.late(now):
            if self._short(lane, job, credit_s * (CROWD / many) ** 2) is None:
                return job
            job, credit_s = jobs.pick("oldest", now) or job, _OLDEST_CREDITS * credit_s
        tenant = self._short(lane, job, credit_s)
        if tenant is None:
            return job
        agent = self._agents[tenant].least(lane)[1]
        return self._of_agent[lane, tenant, agent].pick(selector, now)

    def _short(self, lane: str, job: str, credit_s: float) -> str | None:
        """The tenant whose least served agent is short of that job's owner by more than the credit; None: nobody's."""
        tenant, agent = self._owners[job]
        if self._tenants.ahead(lane, tenant) > credit_s:
            return self._tenants.least(lane)[1]
        return tenant if self._agents[tenant].ahead(lane, agent) > credit_s else None

    def _credit(self, seconds: float) -> float:
        return CREDIT_RUNS * seconds if self._credit_s is None else self._credit_s

    def take(self, lane: str, selector: Selector, now: float, seconds: float) -> str | None:
        """`pick`, out of the lane; whoever it belongs to is charged so many expected seconds."""
        job = self.pick(lane, selector, now, seconds)
        if job is not None:
            tenant, agent = self._owners[job]
            credit_s = self._credit(seconds)
            self._tenants.tick(lane, seconds / self._weights.get(tenant, 1.0), credit_s)
            self._agents[tenant].tick(lane, seconds, credit_s)
            self.correct(tenant, agent, seconds)
            self.remove(lane, job, now)
        return job

    def correct(self, tenant: str, agent: str, seconds: float) -> None:
        """The run took so much more (or less) than it was charged."""
        self._tenants.charge(tenant, seconds / self._weights.get(tenant, 1.0))
        self._agents[tenant].charge(agent, seconds)

    def remove(self, lane: str, job: str, now: float) -> None:
        """KeyError if the job does not wait there."""
        tenant, agent = self._owners[job]
        self._lanes[lane].remove(job, now)
        del self._owners[job]
        own = self._of_agent[lane, tenant, agent]
        own.remove(job, now)
        if not own:
            del self._of_agent[lane, tenant, agent]
            agents = self._agents[tenant]
            agents.leave(lane, agent)
            if not agents.count(lane):
                self._tenants.leave(lane, tenant)
