"""Drawn workloads: the load that was asked for, in order, the same for the same seed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.errors import UsageError
from hotset.fleet import Gpu
from hotset.fleet_file import classic_fleet
from hotset.simulator import POLICIES, Policy, simulate
from hotset.simulator.closed_loop import ClosedLoop
from hotset.simulator.fleets import draw_fleet, with_gpus
from hotset.simulator.loop import simulate_loop
from hotset.simulator.workloads import (
    KINDS,
    Kind,
    Workload,
    capacity,
    draw_jobs,
    fitting_mix,
    job_shares,
    zipf_mix,
)

FLEET = classic_fleet()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.floats(0.05, 3.0),
    st.integers(0, 80),
    st.integers(0, 10_000),
    st.integers(0, 40),
)
def test_whatever_is_asked_for_comes_in_order_and_again(
    kind: Kind, load: float, count: int, seed: int, agents: int
) -> None:
    workload = Workload(kind, load, count, seed, agents=agents, tenants={"a": 2.0, "b": 1.0}, priorities={"high": 1.0})
    jobs = list(draw_jobs(FLEET, workload))
    assert jobs == list(draw_jobs(FLEET, workload))
    assert len({job.id for job in jobs}) == len(jobs) == count
    assert all(a.arrive_s <= b.arrive_s for a, b in pairwise(jobs))
    for job in jobs:
        assert job.run_s > 0
        assert job.queue in FLEET.queues
        assert (job.agent == "") == (agents == 0)
        assert (job.tenant in "ab", job.priority) == (True, "high")
        assert job.deadline_s == FLEET.queues[job.queue].deadline_s


def test_another_seed_gives_other_jobs() -> None:
    assert list(draw_jobs(FLEET, Workload(seed=1, jobs=20))) != list(draw_jobs(FLEET, Workload(seed=2, jobs=20)))


@given(st.sampled_from(["poisson", "flood", "rare", "alternation"]), st.floats(0.1, 2.0))
@settings(max_examples=20, deadline=None)
def test_twice_the_load_is_the_same_jobs_in_half_the_time(kind: Kind, load: float) -> None:
    slow = list(draw_jobs(FLEET, Workload(kind, load, 60)))
    fast = list(draw_jobs(FLEET, Workload(kind, 2 * load, 60)))
    for a, b in zip(slow, fast, strict=True):
        assert (a.queue, a.run_s) == (b.queue, b.run_s)
        assert a.arrive_s == pytest.approx(2 * b.arrive_s)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "backlog"])
def test_the_work_offered_is_the_load(kind: Kind) -> None:
    # The day and the bursts are short, so that the sample has many of them.
    jobs = list(draw_jobs(FLEET, Workload(kind, 0.7, 12_000, 3, cv=0.3, period_s=900.0)))
    slots = sum(gpu.slots for gpu in FLEET.gpus)
    assert sum(job.run_s for job in jobs) / (jobs[-1].arrive_s * slots) == pytest.approx(0.7, rel=0.06)


def test_a_backlog_is_there_at_the_start() -> None:
    assert {job.arrive_s for job in draw_jobs(FLEET, Workload("backlog", jobs=50))} == {0.0}


def test_run_times_have_the_estimate_as_mean_and_the_scatter_asked_for() -> None:
    runs = [job.run_s for job in draw_jobs(FLEET, Workload(jobs=20_000, mix={"qwen": 1.0}, cv=0.6))]
    assert fmean(runs) == pytest.approx(FLEET.queues["qwen"].run_s, rel=0.02)
    assert pstdev(runs) / fmean(runs) == pytest.approx(0.6, rel=0.06)
    assert {job.run_s for job in draw_jobs(FLEET, Workload(jobs=10, mix={"qwen": 1.0}, cv=0.0))} == {8.0}


def test_agents_differ_among_each_other_and_are_shared_out_by_the_mix() -> None:
    jobs = list(draw_jobs(FLEET, Workload(jobs=4000, agents=131, cv=0.0, agent_cv=0.5)))
    by_queue = {queue: {j.agent for j in jobs if j.queue == queue} for queue in FLEET.queues}
    assert {queue: len(agents) for queue, agents in by_queue.items()} == {"tinyllama": 36, "qwen": 59, "deepseek": 36}
    assert len({(j.agent, j.run_s) for j in jobs}) == 131, "each agent has a mean of its own"


def test_shares() -> None:
    assert job_shares(FLEET, Workload()) == pytest.approx(
        {"tinyllama": 36 / 131, "qwen": 59 / 131, "deepseek": 36 / 131}
    )
    flood = job_shares(FLEET, Workload("flood"))
    assert flood == pytest.approx({"qwen": 0.79, "tinyllama": 0.20, "deepseek": 0.01})
    rare = job_shares(FLEET, Workload("rare", queue="tinyllama"))
    assert rare == pytest.approx({"tinyllama": 0.01, "qwen": 0.99 * 59 / 95, "deepseek": 0.99 * 36 / 95})
    counted = Counter(job.queue for job in draw_jobs(FLEET, Workload("flood", jobs=5000)))
    assert counted["qwen"] == pytest.approx(3950, rel=0.05)


def test_alternation_never_gives_two_of_a_queue_that_could_take_turns() -> None:
    jobs = list(draw_jobs(FLEET, Workload("alternation", jobs=100, mix={"qwen": 1, "deepseek": 1})))
    assert all(a.queue != b.queue for a, b in pairwise(jobs))


def test_a_drift_ends_with_the_shares_reversed() -> None:
    jobs = list(draw_jobs(FLEET, Workload("drift", jobs=6000, mix={"qwen": 8, "deepseek": 1, "tinyllama": 1})))
    begin, end = (Counter(j.queue for j in part) for part in (jobs[:600], jobs[-600:]))
    assert begin["qwen"] > 400
    assert end["qwen"] < 150


def test_a_day_has_a_night() -> None:
    jobs = draw_jobs(FLEET, Workload("diurnal", jobs=5000, period_s=86400.0))
    hours = Counter(int(job.arrive_s % 86400 // 3600) for job in jobs)
    assert sum(hours[h] for h in (0, 1, 22, 23)) < 0.3 * sum(hours[h] for h in (10, 11, 12, 13))


def test_it_streams() -> None:
    assert len(list(islice(draw_jobs(FLEET, Workload(jobs=100_000_000)), 5))) == 5


def test_capacity_is_what_the_narrowest_gpus_allow() -> None:
    assert capacity(FLEET, {"qwen": 1.0}) == pytest.approx(2 / 8.0)
    small = replace(FLEET, gpus=(Gpu("small", 1000, 2), Gpu("large", 3686, 2)))
    # deepseek runs on the large one alone; tinyllama finds room on the small one
    assert capacity(small, {"deepseek": 0.5, "tinyllama": 0.5}) == pytest.approx(2 / 12.5)
    assert capacity(small, {"tinyllama": 1.0}) == pytest.approx(4 / 2.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 1000))
def test_drawn_fleets_hold_their_models(gpus: int, models: int, seed: int) -> None:
    fleet = draw_fleet(gpus, models, seed)
    assert fleet == draw_fleet(gpus, models, seed)
    assert (len(fleet.gpus), len(fleet.models), len(fleet.queues)) == (gpus, models, models)
    for model in fleet.models.values():
        assert sum(gpu.vram_mb >= model.size_mb for gpu in fleet.gpus) >= 0.3 * gpus
    mix = fitting_mix(fleet, zipf_mix(fleet, seed))
    total = sum(mix.values())
    shares = {name: share / total for name, share in mix.items()}
    work = sum(share * fleet.queues[name].run_s for name, share in shares.items())
    power = sum(gpu.slots * gpu.speed for gpu in fleet.gpus)
    assert capacity(fleet, shares) == pytest.approx(power / work), "no GPUs are too few for their models"


def test_more_gpus_of_the_same() -> None:
    assert [gpu.name for gpu in with_gpus(FLEET, 3).gpus] == ["gpu0", "gpu0-2", "gpu0-3"]
    assert with_gpus(draw_fleet(4, 3), 2).gpus == draw_fleet(4, 3).gpus[:2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "poison"}, "Did you mean 'poisson'"),
        ({"mix": {"qwem": 1.0}}, "Did you mean 'qwen'"),
        ({"mix": {"qwen": -1.0}}, "mix cannot"),
        ({"mix": {"qwen": math.nan}}, "mix cannot"),
        ({"queue": "none"}, "no queue 'none'"),
        ({"priorities": {"asap": 1.0}}, "no priority 'asap'"),
        ({"load": 0.0}, "load is 0.0"),
        ({"load": math.inf}, "load is inf"),
        ({"cv": -1.0}, "cv is"),
        ({"jobs": -1}, "jobs is"),
        ({"period_s": -5.0}, "period_s is"),
    ],
)
def test_mistakes_are_told_before_the_first_job(change: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        draw_jobs(FLEET, replace(Workload(), **change))  # type: ignore[arg-type]


def test_a_model_that_fits_nowhere_is_named() -> None:
    small = replace(FLEET, gpus=(Gpu("small", 1000),))
    with pytest.raises(UsageError, match=r"qwen2\.5-coder:7b of queue qwen needs 2500 MiB"):
        draw_jobs(small, Workload())
    assert len(list(draw_jobs(small, Workload(jobs=5, mix={"tinyllama": 1.0})))) == 5


# ---- the closed loop -----------------------------------------------------------------------------------------------


def test_each_agent_asks_again_only_when_it_has_its_answer() -> None:
    events: list[tuple[str, str, float]] = []
    loop = ClosedLoop(FLEET, Workload(agents=12), rounds=4, think_s=20.0)
    result = simulate_loop(
        FLEET, loop, trace=lambda e: events.append((str(e["event"]), str(e.get("job")), float(e["t"])))
    )  # type: ignore[arg-type]
    open_jobs: dict[str, str] = {}
    for event, job, _ in events:
        agent = job.rpartition("-")[0]
        if event == "arrive":
            assert agent not in open_jobs
            open_jobs[agent] = job
        elif event == "finish":
            assert open_jobs.pop(agent) == job
    assert not open_jobs
    assert min(loop.answers.values()) == 4
    assert len(loop.answers) == 12
    assert result.jobs == sum(event == "finish" for event, _, _ in events)


def test_an_agent_asks_the_same_under_every_policy() -> None:
    def jobs_of(policy: str) -> dict[str, float]:
        loop = ClosedLoop(FLEET, Workload(agents=6), rounds=3, think_s=5.0)
        asked: dict[str, float] = {}
        original = loop.finished

        def note(job, now):  # type: ignore[no-untyped-def]
            asked[job.id] = job.run_s
            return original(job, now)

        loop.finished = note  # type: ignore[method-assign]
        simulate_loop(FLEET, loop, policy)  # type: ignore[arg-type]
        return asked

    ours, theirs = jobs_of("hotset"), jobs_of("fifo")
    both = ours.keys() & theirs.keys()
    assert len(both) >= 18
    assert all(ours[name] == theirs[name] for name in both)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_serves_a_loop(policy: Policy) -> None:
    loop = ClosedLoop(FLEET, Workload(agents=7), rounds=3, think_s=5.0)
    # When the last agent has its third answer, each of the others has one more job under way.
    assert simulate_loop(FLEET, loop, policy).jobs == sum(loop.answers.values()) + 6
    assert min(loop.answers.values()) == 3


def test_a_single_agent_thinks_while_nothing_else_happens() -> None:
    loop = ClosedLoop(FLEET, Workload(agents=1, cv=0.0), rounds=5, think_s=1000.0)
    assert simulate_loop(FLEET, loop).jobs == 5


def test_a_loop_without_agents_is_refused() -> None:
    with pytest.raises(UsageError, match="needs agents"):
        ClosedLoop(FLEET, Workload())


def test_an_iterator_and_a_list_give_the_same_run() -> None:
    workload = Workload(jobs=80)
    listed = simulate(FLEET, tuple(draw_jobs(FLEET, workload)), "hot-first").report()
    drawn = simulate(FLEET, draw_jobs(FLEET, workload), "hot-first").report()
    assert {**listed, "decision_us": 0, "simulated_jobs_per_s": 0} == {
        **drawn,
        "decision_us": 0,
        "simulated_jobs_per_s": 0,
    }
