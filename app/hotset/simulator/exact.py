"""The cheapest schedule there is, for a handful of jobs on one GPU: what a policy's answer is measured against.

Cost = 60 s for each missed deadline + the sum of all waits. The schedule knows every run time and every arrival, so
with arrivals the optimum is clairvoyant: a bound that no policy can be asked to reach.

Search: best first (A*). Nothing need ever happen but when something ends or arrives, since whatever waits longer could
be moved forward. Jobs of one queue with equal run times are one *class*: they differ in deadline and arrival alone,
so the class decides when one of them starts, and which one is settled: of those that arrived, the earliest deadline
that can still be met (points against intervals). States with the same jobs left and the same models are compared: one
that is later everywhere and costs no less is dropped.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import NamedTuple

from hotset.errors import UsageError
from hotset.fleet import Fleet
from hotset.simulator.jobs_file import SimJob

MISS_COST_S = 60.0
MOST_JOBS = 14
_EPSILON_S = 1e-9
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Step:
    """What the schedule does at `at` (model seconds): load `model` in place of `victims`, or start `job` on it."""

    at: float
    model: str
    job: str | None = None
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Optimum:
    """`states`: how many the search looked at."""

    cost_s: float
    missed: int
    wait_s: float
    steps: tuple[Step, ...]
    states: int


def cost_s(missed: int, wait_s: float) -> float:
    """The cost that optimum and policies are compared by."""
    return MISS_COST_S * missed + wait_s


def optimum(fleet: Fleet, jobs: Sequence[SimJob]) -> Optimum:
    """The cheapest schedule, from moment 0, of at most 14 jobs on a fleet of one GPU, nothing being resident then.

    UsageError for more jobs or GPUs, or a model that does not fit. The time grows quickly with jobs and models:
    12 jobs of 3 models take a fraction of a second, 12 arrivals or 12 different run times seconds.
    """
    if len(fleet.gpus) != 1 or len(jobs) > MOST_JOBS:
        raise UsageError(
            f"{len(jobs)} jobs on {len(fleet.gpus)} GPUs have too many schedules to try.",
            remedy=f"Give at most {MOST_JOBS} jobs and one GPU.",
        )
    return _Search(fleet, jobs).run()


class _Class(NamedTuple):
    """Interchangeable jobs: their model, run time on this GPU, and `jobs` as bits of a state's `left`."""

    model: str
    run_s: float
    jobs: tuple[int, ...]  # in order of deadline


class _State(NamedTuple):
    """`left`: a bit for each job that has not started. `running`: (model, end), sorted. `load`: (model, end)."""

    now: float
    left: int
    resident: frozenset[str]
    running: tuple[tuple[str, float], ...]
    load: tuple[str, float] | None


class _Node(NamedTuple):
    state: _State
    cost: float
    before: _Node | None
    steps: tuple[Step, ...]


class _Search:
    def __init__(self, fleet: Fleet, jobs: Sequence[SimJob]) -> None:
        gpu = fleet.gpus[0]
        self._slots, self._vram_mb = gpu.slots, gpu.vram_mb
        self._jobs = list(jobs)
        self._model = [fleet.queues[job.queue].model for job in jobs]
        self._run_s = [job.run_s / gpu.speed for job in jobs]
        used = sorted(set(self._model))
        self._size = {name: fleet.models[name].size_mb for name in used}
        self._load_s = {name: fleet.models[name].load_s / gpu.speed for name in used}
        for name in used:
            if self._size[name] > gpu.vram_mb:
                raise UsageError(f"{name} does not fit on {gpu.name}.", remedy="Leave its jobs out.")
        self._classes = self._classed()
        self._by_run = sorted(range(len(jobs)), key=lambda i: self._run_s[i])

    def _classed(self) -> tuple[_Class, ...]:
        classes: dict[tuple[str, float], list[int]] = {}
        for i in range(len(self._jobs)):
            classes.setdefault((self._model[i], self._run_s[i]), []).append(i)
        return tuple(
            _Class(model, run_s, tuple(sorted(members, key=lambda i: self._jobs[i].deadline)))
            for (model, run_s), members in classes.items()
        )

    # ---- the search --------------------------------------------------------------------------------------------

    def run(self) -> Optimum:
        root = _State(0.0, (1 << len(self._jobs)) - 1, frozenset(), (), None)
        order = count()
        heap = [(self._bound(root), next(order), _Node(root, 0.0, None, ()))]
        seen: dict[object, list[tuple[float, ...]]] = {}
        looked = 0
        while True:
            _, _, node = heapq.heappop(heap)
            looked += 1
            if not node.state.left:
                return self._optimum(node, looked)
            if looked > 1 and self._dominated(node, seen, note=False):
                continue  # something better came after it was put here
            for state, cost, steps in self._next(node.state):
                following = _Node(state, node.cost + cost, node, steps)
                if not self._dominated(following, seen, note=True):
                    heapq.heappush(heap, (following.cost + self._bound(state), -next(order), following))

    def _dominated(self, node: _Node, seen: dict[object, list[tuple[float, ...]]], *, note: bool) -> bool:
        """Is another state with the same jobs and models as early in everything, and as cheap?"""
        state = node.state
        load_model, load_end = state.load or ("", 0.0)
        # Who has arrived belongs to it: a state that only waits for an arrival must not be dropped for its own past.
        here = sum([job.arrive_s <= state.now for job in self._jobs])
        key = (state.left, here, state.resident, load_model, tuple([model for model, _ in state.running]))
        mine = (node.cost, state.now, load_end, *[end for _, end in state.running])
        known = seen.setdefault(key, [])
        for other in known:
            if (note or other != mine) and all(a <= b + _EPSILON_S for a, b in zip(other, mine, strict=True)):
                return True
        if note:
            known[:] = [o for o in known if not all(a <= b for a, b in zip(mine, o, strict=True))]
            known.append(mine)
        return False

    # ---- what may follow a state -------------------------------------------------------------------------------

    def _next(self, state: _State) -> Iterator[tuple[_State, float, tuple[Step, ...]]]:
        """Every choice at this moment, each carried on to the next moment at which something ends or arrives."""
        for loading, step in self._loads(state):
            for starting, cost, steps in self._starts(loading, 0):
                # A load that was begun is at work; without one, time must be able to go on.
                later = self._later(starting)
                if later is not None:
                    yield later, cost, (*step, *steps)

    def _loads(self, state: _State) -> Iterator[tuple[_State, tuple[Step, ...]]]:
        yield state, ()
        if state.load is not None:
            return
        busy = {model for model, _ in state.running}
        wanted = {c.model for c in self._classes if any(state.left >> i & 1 for i in c.jobs)}
        idle = sorted(state.resident - busy)
        for model in sorted(wanted - state.resident):
            for victims in self._victims(state.resident, idle, model):
                step = Step(state.now, model, None, victims)
                resident = state.resident.difference(victims)
                yield state._replace(resident=resident, load=(model, state.now + self._load_s[model])), (step,)

    def _victims(self, resident: frozenset[str], idle: list[str], model: str) -> list[tuple[str, ...]]:
        """The sets of idle models that make room, and of which none is needless."""
        missing = self._size[model] - self._vram_mb + sum(self._size[name] for name in resident)
        if missing <= 0:
            return [()]
        found: list[tuple[str, ...]] = []
        for number in range(1, len(idle) + 1):
            for chosen in combinations(idle, number):
                enough = sum(self._size[name] for name in chosen) >= missing
                if enough and not any(set(smaller) <= set(chosen) for smaller in found):
                    found.append(chosen)
        return found

    def _starts(self, state: _State, first: int) -> Iterator[tuple[_State, float, tuple[Step, ...]]]:
        """Any number of starts, of classes in their order; none as well: a slot may be kept free for a drain."""
        yield state, 0.0, ()
        if len(state.running) == self._slots:
            return
        for k in range(first, len(self._classes)):
            one = self._classes[k]
            if one.model not in state.resident or (job := self._pick(state, one)) is None:
                continue
            wait = state.now - self._jobs[job].arrive_s
            missed = wait > self._jobs[job].deadline_s + _EPSILON_S
            running = tuple(sorted((*state.running, (one.model, state.now + one.run_s))))
            started = state._replace(left=state.left & ~(1 << job), running=running)
            step = Step(state.now, one.model, self._jobs[job].id)
            for later, cost, steps in self._starts(started, k):
                yield later, cost + wait + (MISS_COST_S if missed else 0.0), (step, *steps)

    def _pick(self, state: _State, one: _Class) -> int | None:
        """Of those that arrived: the earliest deadline that can still be met; else any."""
        hopeless = None
        for i in one.jobs:
            if state.left >> i & 1 and self._jobs[i].arrive_s <= state.now:
                if self._jobs[i].deadline >= state.now - _EPSILON_S:
                    return i
                if hopeless is None:
                    hopeless = i
        return hopeless

    def _later(self, state: _State) -> _State | None:
        """The state when the next thing ends or arrives; None if nothing does."""
        if not state.left:
            return state
        at = min([end for _, end in state.running], default=_NEVER)
        if state.load is not None:
            at = min(at, state.load[1])
        for i, job in enumerate(self._jobs):
            if state.left >> i & 1 and state.now < job.arrive_s < at:
                at = job.arrive_s
        if at == _NEVER:
            return None
        running = tuple([run for run in state.running if run[1] > at])
        if state.load is not None and state.load[1] <= at:
            return _State(at, state.left, state.resident | {state.load[0]}, running, None)
        return _State(at, state.left, state.resident, running, state.load)

    # ---- a bound from below ------------------------------------------------------------------------------------

    def _bound(self, state: _State) -> float:
        """No schedule from here costs less: the k-th start is not before the k-th of shortest-first on the slots, nor
        before the k-th earliest moment at which a job's model can be there. Deadlines before that moment are missed."""
        soonest = self._soonest(state)
        free = [state.now] * (self._slots - len(state.running)) + [end for _, end in state.running]
        heapq.heapify(free)
        starts, ready, arrivals, missed = [], [], 0.0, 0
        for i in self._by_run:
            if state.left >> i & 1:
                starts.append(heapq.heapreplace(free, free[0] + self._run_s[i]))
                job = self._jobs[i]
                can = max(soonest[self._model[i]], job.arrive_s)
                ready.append(can)
                arrivals += job.arrive_s
                missed += can > job.deadline + _EPSILON_S
        starts.sort()
        ready.sort()
        return sum(map(max, starts, ready)) - arrivals + MISS_COST_S * missed

    def _soonest(self, state: _State) -> dict[str, float]:
        """When each model can be there, were it the next to be loaded."""
        idle_at = state.load[1] if state.load is not None else state.now
        soonest = {}
        for model, load_s in self._load_s.items():
            if model in state.resident:
                soonest[model] = state.now
            elif state.load is not None and state.load[0] == model:
                soonest[model] = state.load[1]
            else:
                soonest[model] = idle_at + load_s
        return soonest

    # ---- the answer --------------------------------------------------------------------------------------------

    def _optimum(self, node: _Node, looked: int) -> Optimum:
        steps: list[Step] = []
        at: _Node | None = node
        while at is not None:
            steps[:0] = at.steps
            at = at.before
        by_id = {job.id: job for job in self._jobs}
        waits = [(step.at - by_id[step.job].arrive_s, by_id[step.job]) for step in steps if step.job is not None]
        missed = sum(wait > job.deadline_s + _EPSILON_S for wait, job in waits)
        wait_s = sum(wait for wait, _ in waits)
        return Optimum(cost_s(missed, wait_s), missed, wait_s, tuple(steps), looked)
