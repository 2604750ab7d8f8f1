"""What waits, as the policy sees it: views of the queues and their sums by model, renewed only where something changed.

So a look of a GPU with nothing to do costs little, however many models wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Set

from hotset.fleet import Fleet
from hotset.scheduling import Demand, Lane, QueueView, Selector, Supply
from hotset.scheduling.costs import begun_s, demands
from hotset.scheduling.loads import ROUNDING_MB
from hotset.simulator.devices import Device
from hotset.simulator.jobs_file import LANES, SimJob
from hotset.simulator.lanes import Queue as Waiting

#: The expected run time starts at the fleet file's estimate, worth so many observed runs, and follows the last
#: hundred or so.
_PRIOR_RUNS, _MEMORY_RUNS = 10, 100
_NEVER = float("inf")


class Queue:
    """The waiting jobs of one queue, and the view of them that still holds. `number`: its place in the fleet."""

    __slots__ = ("good_until", "lanes", "model", "name", "number", "run_s", "runs", "view", "waiting")

    def __init__(self, number: int, name: str, model: str, run_s: float) -> None:
        self.number = number
        self.name = name
        self.model = model
        self.run_s = run_s
        self.runs = _PRIOR_RUNS
        self.waiting = Waiting()
        self.view: QueueView | None = None  # None: nothing waits
        self.lanes: tuple[Lane, ...] | None = ()  # of the view; None: a job came or went
        self.good_until = _NEVER

    def learn(self, run_s: float) -> None:
        self.runs = min(self.runs + 1, _MEMORY_RUNS)
        self.run_s += (run_s - self.run_s) / self.runs

    def renew(self, now: float) -> None:
        """The view of this moment holds until a job comes or goes, a run time is learned, or a deadline passes."""
        if self.lanes is None or now > self.good_until:
            self.lanes = self.lanes_at(now)
        self.view = QueueView(self.name, self.model, self.run_s, self.lanes) if self.lanes else None

    def lanes_at(self, now: float) -> tuple[Lane, ...]:
        """Those with jobs; sets `good_until`."""
        self.good_until = _NEVER
        lanes = []
        for name, jobs in self.waiting.lanes().items():
            count = len(jobs)
            if count:
                savable, deadline = jobs.savable(now)
                if deadline is not None and deadline < self.good_until:
                    self.good_until = deadline
                lanes.append(Lane(name, LANES[name], count, jobs.oldest_arrival() or 0.0, savable, deadline))
        return tuple(lanes)


class Board:
    """`queues`: by name. `demands`: by model, in the fleet's order, as of the last `renew`."""

    def __init__(self, fleet: Fleet) -> None:
        self.queues = {q.name: Queue(i, q.name, q.model, q.run_s) for i, q in enumerate(fleet.queues.values())}
        self.demands: Mapping[str, Demand] = {}
        self._by_number = list(self.queues.values())
        self._of_model: dict[str, list[Queue]] = {}
        for queue in self._by_number:
            self._of_model.setdefault(queue.model, []).append(queue)
        self._waiting: list[int] = []  # numbers of the queues with jobs
        self._stale: dict[Queue, None] = {}
        self._good_until = _NEVER  # of all views, or less
        self._views: tuple[QueueView, ...] | None = ()

    def __bool__(self) -> bool:
        """Does any job wait?"""
        return bool(self._waiting)

    def models(self) -> list[str]:
        """Those of the queues with jobs."""
        return [self._by_number[i].model for i in self._waiting]

    def longest_run_s(self, model: str) -> float:
        """The expected run of that one of its queues whose jobs run the longest."""
        return max([queue.run_s for queue in self._of_model[model]])

    def add(self, job: SimJob) -> None:
        queue = self.queues[job.queue]
        if not queue.waiting:
            insort(self._waiting, queue.number)
        queue.waiting.add(job.priority, job.id, job.arrive_s, job.deadline, tenant=job.tenant, agent=job.agent)
        queue.lanes, self._stale[queue] = None, None

    def take(self, queue: Queue, lane: str, selector: Selector, now: float) -> str | None:
        """The job that the grant takes, out of its queue; None if nothing waits there."""
        job = queue.waiting.take(lane, selector, now, queue.run_s)
        if job is not None:
            queue.lanes, self._stale[queue] = None, None
            if not queue.waiting:
                del self._waiting[bisect_left(self._waiting, queue.number)]
        return job

    def learn(self, queue: Queue, run_s: float) -> None:
        """A job of the queue ran for so long."""
        queue.learn(run_s)
        if queue.waiting:
            self._stale[queue] = None

    def views(self) -> tuple[QueueView, ...]:
        """The queues with jobs, in the fleet's order, as of the last `renew`."""
        if self._views is None:
            self._views = tuple([view for i in self._waiting if (view := self._by_number[i].view) is not None])
        return self._views

    def renew(self, now: float) -> Set[str]:
        """Bring views and sums up to this moment. The models whose sum may be another."""
        if now > self._good_until:
            self._deadlines_passed(now)
        if not self._stale:
            return frozenset()
        came_or_went = False
        for queue in self._stale:
            before = queue.view
            queue.renew(now)
            came_or_went |= (before is None) != (queue.view is None)
            if queue.good_until < self._good_until:
                self._good_until = queue.good_until
        self._views = None
        touched = {queue.model for queue in self._stale}
        self._stale.clear()
        if came_or_went:
            self.demands = demands(self.views())
        else:
            anew = [q.view for model in touched for q in self._of_model[model] if q.view is not None]
            self.demands = {**self.demands, **demands(anew)}
        return touched

    def _deadlines_passed(self, now: float) -> None:
        self._good_until = _NEVER
        for i in self._waiting:
            queue = self._by_number[i]
            if now > queue.good_until:
                self._stale[queue] = None
            else:
                self._good_until = min(self._good_until, queue.good_until)


class Sought:
    """For each kind of GPU the models that fit and of whose waiting work those who hold them leave something: at once
    where there is free VRAM, else after the time of a load.

    A kind looks again only at the models whose demand or supply has changed since it was last asked for.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._models = fleet.models
        self._smallest_mb = min(model.size_mb for model in fleet.models.values())
        self._begun: dict[str, float] = {}  # model with demand -> seconds until its holders leave nothing
        self._changes = 0
        self._changed: dict[str, int] = {}  # model -> the number of its last change, in this order
        #: Usable VRAM, seconds for a second of load -> (changes seen, models).
        self._kinds: dict[tuple[float, float], tuple[int, set[str]]] = {}

    def changed(self, models: Iterable[str], demands: Mapping[str, Demand], supply: Mapping[str, Supply]) -> None:
        """Their demand or supply is another. `supply`: of all GPUs, which for a model that one lacks is the others'."""
        for model in models:
            demand, theirs = demands.get(model), supply.get(model)
            if demand is None:
                if self._begun.pop(model, None) is None:
                    continue  # nobody waited for it before, nor does now
            else:
                self._begun[model] = begun_s(demand, theirs) if theirs is not None else _NEVER
            self._changes += 1
            self._changed.pop(model, None)
            self._changed[model] = self._changes

    def by(self, device: Device) -> Set[str]:
        """As long as nothing changes."""
        slowness = 0.0 if device.free_mb + ROUNDING_MB >= self._smallest_mb else 1.0 / device.gpu.speed
        kind = device.vram_mb, slowness
        seen, sought = self._kinds.get(kind, (0, set()))
        if seen < self._changes:
            for model in reversed(self._changed):
                if self._changed[model] <= seen:
                    break
                known, begun = self._models[model], self._begun.get(model, 0.0)
                if begun > known.load_s * slowness and known.size_mb <= device.vram_mb:
                    sought.add(model)
                else:
                    sought.discard(model)
            self._kinds[kind] = self._changes, sought
        return sought
