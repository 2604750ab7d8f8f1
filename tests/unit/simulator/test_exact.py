"""The exact solver against a search without its shortcuts, and its schedules against the rules of the world."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.errors import UsageError
from hotset.fleet import Fleet, Gpu, Model, Queue
from hotset.fleet_file import classic_fleet
from hotset.simulator import SimJob, simulate
from hotset.simulator.exact import Optimum, cost_s, optimum

FLEET = classic_fleet()


def job(name: str, queue: str, deadline_s: float = 600.0, at: float = 0.0, run_s: float | None = None) -> SimJob:
    return SimJob(name, at, queue, FLEET.queues[queue].run_s if run_s is None else run_s, deadline_s)


def test_nothing_to_do() -> None:
    assert optimum(FLEET, []).cost_s == 0.0


def test_one_job_waits_for_its_load() -> None:
    best = optimum(FLEET, [job("a", "qwen")])
    assert (best.cost_s, best.missed, best.wait_s) == (5.0, 0, 5.0)
    assert [(s.at, s.job) for s in best.steps] == [(0.0, None), (5.0, "a")]


def test_both_small_models_are_loaded_and_the_short_runs_go_first() -> None:
    best = optimum(FLEET, [job("a", "qwen"), job("b", "tinyllama"), job("c", "tinyllama")])
    # tinyllama is there at 2 s, qwen at 7 s, while b and c run
    assert best.cost_s == 2.0 + 2.0 + 7.0


def test_a_deadline_is_worth_a_minute_of_waiting() -> None:
    jobs = [job("a", "deepseek", 7.0), job("b", "tinyllama"), job("c", "tinyllama")]
    best = optimum(FLEET, jobs)
    # deepseek first: 6 s; the two others after its 25 s run and a load of 2 s
    assert (best.missed, best.cost_s) == (0, 6.0 + 33.0 + 33.0)
    jobs += [job(name, "tinyllama") for name in "defgh"]
    assert optimum(FLEET, jobs).missed == 1, "seven others would wait too long"


def test_a_job_that_arrives_later_is_foreseen() -> None:
    best = optimum(FLEET, [job("a", "qwen", at=20.0)])
    assert best.cost_s == 0.0, "loaded before it comes"


def test_too_many() -> None:
    with pytest.raises(UsageError, match="15 jobs"):
        optimum(FLEET, [job(str(i), "qwen") for i in range(15)])
    with pytest.raises(UsageError, match="2 GPUs"):
        optimum(replace(FLEET, gpus=FLEET.gpus * 2), [])


_SIZES, _SECONDS = st.sampled_from([30, 50, 60, 100]), st.sampled_from([1.0, 3.0, 10.0])


@st.composite
def cases(draw: st.DrawFn, most: int = 4) -> tuple[Fleet, list[SimJob]]:
    models = {f"m{i}": Model(f"m{i}", draw(_SIZES), draw(_SECONDS)) for i in range(draw(st.integers(1, 3)))}
    queues = {f"q{i}": Queue(f"q{i}", name, f"t{i}", 60.0, draw(_SECONDS)) for i, name in enumerate(models)}
    fleet = Fleet((Gpu("g", 100, draw(st.integers(1, 2)), draw(st.sampled_from([1.0, 2.0]))),), models, queues)
    jobs = []
    for i in range(draw(st.integers(1, most))):
        queue = queues[draw(st.sampled_from(list(queues)))]
        run_s = draw(st.sampled_from([queue.run_s, queue.run_s, 2.0]))
        deadline_s = draw(st.sampled_from([2.0, 6.0, 12.0, 30.0]))
        jobs.append(SimJob(f"j{i}", draw(st.sampled_from([0.0, 0.0, 4.0])), queue.name, run_s, deadline_s))
    return fleet, jobs


@settings(max_examples=120, deadline=None)
@given(cases())
def test_it_agrees_with_trying_everything(case: tuple[Fleet, list[SimJob]]) -> None:
    fleet, jobs = case
    assert optimum(fleet, jobs).cost_s == pytest.approx(_cheapest(fleet, jobs))


@settings(max_examples=60, deadline=None)
@given(cases(most=7))
def test_its_schedule_can_be_carried_out_and_costs_what_it_says(case: tuple[Fleet, list[SimJob]]) -> None:
    fleet, jobs = case
    best = optimum(fleet, jobs)
    _carry_out(fleet, jobs, best)
    by_id = {j.id: j for j in jobs}
    waits = {s.job: s.at - by_id[s.job].arrive_s for s in best.steps if s.job}
    missed = sum(wait > by_id[name].deadline_s + 1e-9 for name, wait in waits.items())
    assert best.cost_s == pytest.approx(cost_s(missed, sum(waits.values())))


@settings(max_examples=30, deadline=None)
@given(cases(most=8), st.sampled_from(["hotset", "fifo", "hot-first"]))
def test_no_policy_beats_it(case: tuple[Fleet, list[SimJob]], policy: str) -> None:
    fleet, jobs = case
    jobs = sorted(jobs, key=lambda j: j.arrive_s)
    result = simulate(fleet, jobs, policy)  # type: ignore[arg-type]
    wait_s = sum(q.waits.total for q in result.queues.values())
    assert optimum(fleet, jobs).cost_s <= cost_s(result.deadline_missed, wait_s) + 1e-6


def _carry_out(fleet: Fleet, jobs: list[SimJob], best: Optimum) -> None:
    """AssertionError at the first step that the world would not allow."""
    gpu, by_id = fleet.gpus[0], {j.id: j for j in jobs}
    ready: dict[str, float] = {}  # model -> when its load ends
    runs: list[tuple[float, float, str]] = []
    loaded_until = now = 0.0
    for step in best.steps:
        assert step.at >= now
        now = step.at
        if step.job is None:
            assert now >= loaded_until - 1e-9, "one load at a time"
            for victim in step.victims:
                assert not any(model == victim and end > now + 1e-9 for _, end, model in runs)
                del ready[victim]
            loaded_until = ready[step.model] = now + fleet.models[step.model].load_s / gpu.speed
            assert sum(fleet.models[name].size_mb for name in ready) <= gpu.vram_mb
        else:
            one = by_id.pop(step.job)
            assert fleet.queues[one.queue].model == step.model
            assert ready[step.model] <= now + 1e-9 and one.arrive_s <= now + 1e-9
            assert sum(end > now + 1e-9 for _, end, _ in runs) < gpu.slots
            runs.append((now, now + one.run_s / gpu.speed, step.model))
    assert not by_id, "every job runs"


def _cheapest(fleet: Fleet, jobs: list[SimJob]) -> float:
    """Every job by itself, every load, every set of victims, every pause: no classes, no bounds."""
    gpu = fleet.gpus[0]

    @cache
    def search(
        now: float,
        left: frozenset[int],
        resident: frozenset[str],
        runs: tuple[tuple[float, str], ...],
        load: tuple[float, str] | None,
        loads_left: int,
    ) -> float:
        if not left:
            return 0.0
        best = float("inf")
        busy = {model for _, model in runs}
        if len(runs) < gpu.slots:
            for i in left:
                model = fleet.queues[jobs[i].queue].model
                if model in resident and jobs[i].arrive_s <= now:
                    wait = now - jobs[i].arrive_s
                    run = (now + jobs[i].run_s / gpu.speed, model)
                    cost = cost_s(int(wait > jobs[i].deadline_s + 1e-9), wait)
                    best = min(best, cost + search(now, left - {i}, resident, (*runs, run), load, loads_left))
        if load is None and loads_left:
            for model in {fleet.queues[jobs[i].queue].model for i in left} - resident:
                idle = sorted(resident - busy)
                for number in range(len(idle) + 1):
                    for victims in combinations(idle, number):
                        kept = resident.difference(victims)
                        if sum(fleet.models[m].size_mb for m in (*kept, model)) <= gpu.vram_mb:
                            end = now + fleet.models[model].load_s / gpu.speed
                            best = min(best, search(now, left, kept, runs, (end, model), loads_left - 1))
        moments = [end for end, _ in runs] + ([load[0]] if load else [])
        moments += [jobs[i].arrive_s for i in left if jobs[i].arrive_s > now]
        if moments:
            at = min(moments)
            still = tuple(run for run in runs if run[0] > at)
            done = load is not None and load[0] <= at
            residents = resident | {load[1]} if done and load is not None else resident
            best = min(best, search(at, left, residents, still, None if done else load, loads_left))
        return best

    # Each load that is of use serves a job, so that more loads than jobs help nobody.
    return search(0.0, frozenset(range(len(jobs))), frozenset(), (), None, len(jobs))
