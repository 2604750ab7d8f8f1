"""The virtual world: its figures on workloads small enough to work out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from hotset.errors import HotsetError, InvalidFleet, UsageError
from hotset.fleet import Model
from hotset.lab.schedule_cases import fleet_cases
from hotset.simulator import POLICIES, Policy, SimJob, simulate
from unit.simulator.worlds import FLEET, Judge, gpus, poisson


def job(name: str, at: float, queue: str, run_s: float = 10.0, **more: Any) -> SimJob:
    return SimJob(name, at, queue, run_s, more.pop("deadline_s", 120.0), **more)


def traced(jobs: list[SimJob], policy: Policy = "hotset", fleet: Any = FLEET) -> list[tuple[Any, ...]]:
    events: list[tuple[Any, ...]] = []
    simulate(fleet, jobs, policy, trace=lambda e: events.append((e["t"], e["event"], e.get("job") or e.get("model"))))
    return events


def test_one_job_on_a_cold_gpu() -> None:
    assert traced([job("a", 3.0, "qwen")]) == [
        (3.0, "arrive", "a"),
        (3.0, "load", "qwen2.5-coder:7b"),
        (8.0, "loaded", "qwen2.5-coder:7b"),
        (8.0, "start", "a"),
        (18.0, "finish", "a"),
    ]


def test_its_report() -> None:
    report = simulate(FLEET, [job("a", 3.0, "qwen", deadline_s=4.0)]).report()
    assert report["jobs"] == 1
    assert report["makespan_s"] == 15.0
    assert report["throughput_per_h"] == 240.0
    assert report["goodput"] == pytest.approx(10 / 30)  # one of two slots for 10 of 15 s
    assert report["load_share"] == pytest.approx(10 / 30)  # two slots for 5 s
    assert report["drain_share"] == 0.0
    assert report["swaps"] == 1
    assert report["swaps_per_1000"] == 1000.0
    assert report["wait_s"] == {"mean": 5.0, "p50": 5.0, "p95": 5.0, "p99": 5.0, "max": 5.0}
    assert report["deadline_missed"] == report["queues"]["qwen"]["deadline_missed"] == 1
    assert report["max_wait_violations"] == 0
    assert report["queues"]["deepseek"]["jobs"] == 0
    assert report["simulated_jobs_per_s"] > 0
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize("policy", POLICIES)
def test_the_report_has_the_keys_of_the_format(policy: Policy) -> None:
    report = simulate(FLEET, poisson(0.5, 50, 1), policy).report()
    assert list(report) == [
        "policy", "jobs", "makespan_s", "throughput_per_h", "goodput", "swaps", "swaps_per_1000", "load_share",
        "drain_share", "wait_s", "queues", "deadline_missed", "max_wait_violations", "decisions", "decision_us",
        "simulated_jobs_per_s",
    ]  # fmt: skip
    assert report["policy"] == policy
    assert report["decisions"] > 0
    assert sum(q["jobs"] for q in report["queues"].values()) == report["jobs"] == 50


def test_no_jobs() -> None:
    report = simulate(FLEET, []).report()
    assert report["jobs"] == 0
    assert report["throughput_per_h"] == 0.0


def test_drain_is_counted_and_fifo_pays_for_it() -> None:
    jobs = [job("a", 0, "qwen", 10.0), job("b", 0, "deepseek", 10.0)]
    report = simulate(FLEET, jobs, "fifo").report()
    # 5 s load (2 slots idle), 10 s a with one slot held by b, 6 s load (2 idle), 10 s b (1 idle, nothing waits)
    assert report["makespan_s"] == 31.0
    assert report["load_share"] == pytest.approx(22 / 62)
    assert report["drain_share"] == pytest.approx(10 / 62)
    assert report["goodput"] == pytest.approx(20 / 62)


def test_co_residency_while_the_other_runs() -> None:
    events = traced([job("a", 0, "qwen", 100.0), job("b", 10, "tinyllama", 2.0)])
    assert (12.0, "start", "b") in events
    assert not [e for e in events if e[1] == "evict"]


def test_unlimited_holds_all_models() -> None:
    jobs = [job(f"{q}{i}", 0, q, 5.0) for i in range(4) for q in FLEET.queues]
    assert simulate(FLEET, jobs, "unlimited").swaps == 3
    assert "evict" not in {e[1] for e in traced(jobs, "unlimited")}


def test_round_robin_takes_turns_and_fifo_does_not() -> None:
    jobs = [job(f"{q}{i}", 0.1 * i, q, 5.0) for q in ("qwen", "deepseek") for i in range(5)]
    jobs.sort(key=lambda j: (j.queue, j.arrive_s))
    jobs = [replace(j, arrive_s=0.0) for j in jobs]
    starts = [e[2][0] for e in traced(jobs, "round-robin") if e[1] == "start"]
    assert starts == list("qdqdqdqdqd")
    assert [e[2][0] for e in traced(jobs, "fifo") if e[1] == "start"] == list("dddddqqqqq")


def test_hot_first_stays_until_nothing_waits() -> None:
    jobs = [job("q1", 0, "qwen"), job("d1", 1, "deepseek"), job("q2", 14, "qwen"), job("q3", 20, "qwen")]
    assert [e[2] for e in traced(jobs, "hot-first") if e[1] == "start"] == ["q1", "q2", "q3", "d1"]


def test_a_backlog_of_one_model_uses_both_gpus() -> None:
    fleet = gpus(2)
    judge = Judge(fleet, jobs := [job(f"j{i}", 0, "qwen", 8.0) for i in range(40)])
    simulate(fleet, jobs, trace=judge)
    assert all(judge.resident[g.name] for g in fleet.gpus)


def test_gpus_do_not_herd() -> None:
    fleet = gpus(4)
    assert simulate(fleet, [job("a", 0, "qwen")]).swaps == 1
    mixed = [job(f"{q}{i}", 0, q, 5.0) for i in range(2) for q in FLEET.queues]
    assert simulate(fleet, mixed).swaps == 3


def test_busy_gpus_load_a_model_once_for_one_job() -> None:
    fleet = gpus(8, vram_mb=5000)
    many = poisson(0.9, 2000, 3, fleet=fleet, mix=(1.0, 0.0, 0.0))
    at = [many[i].arrive_s for i in (500, 1000, 1500)]
    few = [SimJob(f"deep{i}", t, "deepseek", 25.0, 600.0) for i, t in enumerate(at)]
    loads: list[float] = []

    def trace(event: Mapping[str, Any]) -> None:
        if event["event"] == "load" and event["model"] == fleet.queues["deepseek"].model:
            loads.append(event["t"])

    simulate(fleet, sorted([*many, *few], key=lambda job: job.arrive_s), trace=trace)
    assert loads == at, "at each arrival one GPU, since the slots of those that hold it are taken, and no second one"


def test_a_faster_gpu_runs_and_loads_faster() -> None:
    assert simulate(gpus(1, speeds=[2.0]), [job("a", 0, "qwen")]).makespan_s == 7.5


def test_priorities_and_deadlines_order_a_queue() -> None:
    jobs = [
        job("first", 0, "qwen", 50),
        job("second", 0, "qwen", 60),
        job("late", 6, "qwen", deadline_s=500),
        job("early", 7, "qwen", deadline_s=200),
        job("urgent", 8, "qwen", deadline_s=600, priority="urgent"),
    ]
    order = [e[2] for e in traced(jobs) if e[1] == "start"]
    assert order == ["first", "second", "urgent", "early", "late"]


def test_expected_run_times_are_learned() -> None:
    # 60 jobs that take 10 × the estimate: the policy must not think that a switch to deepseek drains in 8 s.
    jobs = [job(f"q{i}", i * 1.0, "qwen", 80.0, deadline_s=1e6) for i in range(60)]
    assert simulate(FLEET, jobs).report()["jobs"] == 60


def test_the_same_arguments_give_the_same_trace() -> None:
    jobs = poisson(0.8, 200, 3)
    assert traced(jobs) == traced(jobs)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    simulate(FLEET, poisson(0.5, 300, 1), progress=lambda done, total: told.append((done, total)))
    assert 50 <= len(told) <= 101
    assert told == sorted(told)
    assert told[-1][1] == 300


def test_a_backlog_of_many_gpus_does_not_end_with_the_longest_runs() -> None:
    backlog, _ = fleet_cases(8, 16, 8, 10)
    ours = simulate(backlog.fleet, backlog.jobs())
    unlimited = simulate(backlog.fleet, backlog.jobs(), "unlimited")
    assert ours.makespan_s <= unlimited.makespan_s / 0.97


def test_what_fits_nowhere_is_refused() -> None:
    fleet = replace(FLEET, models={**FLEET.models, "deepseek-r1:8b": Model("deepseek-r1:8b", 9000, 6)})
    with pytest.raises(InvalidFleet, match="9000 MiB"):
        simulate(fleet, [job("a", 0, "deepseek")])
    assert simulate(fleet, [job("a", 0, "qwen")]).jobs == 1, "unless nobody asks for it"
    assert simulate(fleet, [job("a", 0, "deepseek")], "unlimited").jobs == 1


def test_unknown_words_are_refused_with_a_hint() -> None:
    with pytest.raises(UsageError, match="Did you mean 'hotset'"):
        simulate(FLEET, [], "hotsets")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="balanced"):
        simulate(FLEET, [], objective="fast")  # type: ignore[arg-type]


def test_a_policy_that_stalls_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotset.simulator.live_policy.decide", lambda *_: ())
    with pytest.raises(HotsetError, match="for ever"):
        simulate(FLEET, [job("a", 0, "qwen")])
