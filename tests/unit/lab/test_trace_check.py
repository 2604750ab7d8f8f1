"""The judge of traces: it lets pass whatever the simulator does, and names each thing that no GPU can do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hotset.cli.main import app
from hotset.fleet_file import classic_fleet
from hotset.lab import check_trace, read_traces
from hotset.simulator import POLICIES, Policy, simulate
from unit.simulator.worlds import gpus, poisson

FLEET = classic_fleet()
QWEN, TINY, DEEP = "qwen2.5-coder:7b", "tinyllama", "deepseek-r1:8b"


def event(t: float, name: str, **fields: Any) -> dict[str, Any]:
    return {"t": t, "event": name, **({} if name in ("arrive", "leave") else {"gpu": "gpu0"}), **fields}


def load(t: float, model: str, loaded_at: float) -> list[dict[str, Any]]:
    return [event(t, "load", model=model, reason="r"), event(loaded_at, "loaded", model=model)]


def run(job: str, model: str, start: float, end: float, outcome: str = "succeeded") -> list[dict[str, Any]]:
    return [event(start, "start", job=job, model=model), event(end, "finish", job=job, outcome=outcome)]


GOOD = [
    event(0, "arrive", job="a", queue="qwen"),
    event(0, "arrive", job="b", queue="qwen"),
    event(0, "arrive", job="c", queue="deepseek"),
    event(0, "arrive", job="d", queue="tinyllama"),
    *load(0, QWEN, 5),
    *run("a", QWEN, 5, 9),
    *run("b", QWEN, 9, 10, "retried"),
    *run("b", QWEN, 11, 12),
    event(13, "leave", job="d", outcome="cancelled"),
    event(13, "evict", model=QWEN),
    *load(13, DEEP, 19),
    *run("c", DEEP, 19, 30),
]


def test_a_good_trace() -> None:
    report = check_trace(GOOD, FLEET)
    assert report.valid and report.problems == ()
    assert (report.events, report.jobs, report.starts, report.loads, report.unfinished) == (18, 4, 4, 2, 0)


#: What is put in the place of GOOD, and what is said of it.
BAD: dict[str, tuple[Sequence[Mapping[str, Any]], str]] = {
    "unsorted": ([event(5, "arrive", job="a", queue="qwen"), *load(1, QWEN, 6)], "lies before the event above"),
    "timeless": ([{"event": "arrive", "job": "a", "queue": "qwen"}], "its time is None"),
    "no event": ([event(0, "lod", model=QWEN)], "'lod' is no event"),
    "no gpu": ([{"t": 0, "event": "load", "gpu": "gpu7", "model": QWEN}], "no GPU 'gpu7'"),
    "cold start": (run("a", QWEN, 0, 1), "not resident"),
    "start during the load": ([event(0, "load", model=QWEN), *run("a", QWEN, 1, 2)], "not resident"),
    "three at once": (
        [*load(0, QWEN, 5), *(event(5, "start", job=j, model=QWEN) for j in "abc")],
        "3 jobs run on gpu0, which has 2 slots",
    ),
    "too much VRAM": ([*load(0, QWEN, 5), *load(5, DEEP, 11)], "takes 5700 of"),
    "two loads": ([event(0, "load", model=QWEN), event(0, "load", model=TINY)], "while qwen2.5-coder:7b loads"),
    "loaded twice": ([*load(0, QWEN, 5), *load(5, QWEN, 9)], "where it is resident"),
    "loaded from nowhere": ([event(0, "loaded", model=QWEN)], "no load of it began"),
    "evicted while it runs": (
        [*load(0, QWEN, 5), event(5, "start", job="a", model=QWEN), event(6, "evict", model=QWEN)],
        "while a run on it",
    ),
    "evicted and not there": ([event(0, "evict", model=QWEN)], "where it is not resident"),
    "twice": ([*load(0, QWEN, 5), *run("a", QWEN, 5, 6), *run("a", QWEN, 6, 7)], "after it had succeeded"),
    "at the same time": (
        [*load(0, QWEN, 5), event(5, "start", job="a", model=QWEN), event(5, "start", job="a", model=QWEN)],
        "while it runs",
    ),
    "before it arrives": (
        [event(0, "arrive", job="b", queue="qwen"), *load(0, QWEN, 5), *run("a", QWEN, 5, 6)],
        "has not arrived",
    ),
    "on another model": (
        [event(0, "arrive", job="a", queue="qwen"), *load(0, TINY, 2), *run("a", TINY, 2, 3)],
        "of queue qwen starts on tinyllama",
    ),
    "a finish alone": ([event(0, "finish", job="a", outcome="succeeded")], "does not run there"),
    "leaves while it runs": (
        [
            event(0, "arrive", job="a", queue="qwen"),
            *load(0, QWEN, 5),
            event(5, "start", job="a", model=QWEN),
            event(6, "leave", job="a", outcome="cancelled"),
        ],
        "does not wait",
    ),
    "arrives twice": ([event(0, "arrive", job="a", queue="qwen")] * 2, "a second time"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_happen_is_named(what: str) -> None:
    events, said = BAD[what]
    report = check_trace(events, FLEET)
    assert not report.valid
    assert any(said in problem.what for problem in report.problems), report.problems


def test_a_load_that_was_broken_off_and_what_is_left_open_are_no_violations() -> None:
    events = [event(0, "load", model=QWEN), event(1, "evict", model=QWEN), *load(1, DEEP, 7)]
    report = check_trace([*events, event(7, "start", job="a", model=DEEP)], FLEET)
    assert report.valid and report.unfinished == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.5, 0.9, 3.0]),
    st.integers(1, 3),
    st.sampled_from(POLICIES),
    st.randoms(use_true_random=False),
)
def test_the_simulator_does_what_gpus_can_do(seed: int, load: float, count: int, policy: Policy, random: Any) -> None:
    """And the judge would notice: without one of its loads, or with one start told twice, the trace is refused."""
    fleet = gpus(count)
    events: list[Mapping[str, Any]] = []
    simulate(fleet, poisson(load, 40, seed, fleet=fleet), policy, trace=events.append)
    unlimited = policy == "unlimited"

    report = check_trace(events, fleet, unlimited=unlimited)
    assert report.valid, report.problems
    assert (report.starts, report.unfinished) == (40, 0)

    spoilt = random.choice([i for i, e in enumerate(events) if e["event"] in ("load", "start")])
    without = check_trace([*events[:spoilt], *events[spoilt + 1 :]], fleet, unlimited=unlimited)
    doubled = check_trace([*events[: spoilt + 1], *events[spoilt:]], fleet, unlimited=unlimited)
    assert not without.valid and not doubled.valid


def test_traces_of_several_gpus_are_merged_by_the_time_of_day(tmp_path: Path) -> None:
    fleet = gpus(2)

    def at(second: int, name: str, gpu: str, **fields: Any) -> str:
        moment = f"2026-01-01T00:00:{second:02d}+00:00"
        return json.dumps({"t": second % 30, "event": name, "gpu": gpu, "at": moment, **fields}) + "\n"

    first, second = tmp_path / "gpu0.jsonl", tmp_path / "gpu1.jsonl"
    first.write_text(
        at(0, "load", "gpu0", model=TINY)
        + at(2, "loaded", "gpu0", model=TINY)
        + at(30, "start", "gpu0", model=TINY, job="a")
        + at(32, "finish", "gpu0", job="a", outcome="cancelled")
    )
    second.write_text(
        at(1, "load", "gpu1", model=TINY)
        + at(3, "loaded", "gpu1", model=TINY)
        + at(33, "start", "gpu1", model=TINY, job="a")
    )
    merged = list(read_traces([first, second]))
    assert [e["t"] for e in merged] == [0, 1, 2, 3, 30, 32, 33]
    assert check_trace(merged, fleet).valid

    second.write_text(second.read_text().replace(":33+", ":31+"))  # it runs on the other one still
    assert "while it runs" in check_trace(read_traces([first, second]), fleet).problems[0].what


def test_the_command_tells_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(json.dumps(e) + "\n" for e in GOOD))
    good = CliRunner().invoke(app, ["trace", "check", str(file), "--json"])
    assert good.exit_code == 0 and json.loads(good.stdout)["valid"] is True

    file.write_text(file.read_text() + '{"t": 40, "event": "start"')
    bad = CliRunner().invoke(app, ["trace", "check", str(file)])
    assert bad.exit_code == 1
    assert "event 19: 'unreadable' is no event of a trace" in bad.stderr
    assert "2 violations" in bad.stdout  # it has no time either
