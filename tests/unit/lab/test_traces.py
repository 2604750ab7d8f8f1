"""Figures of traces: those of the simulator's own report, and worked out by hand for a live log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hotset.lab.crowd import jain
from hotset.lab.traces import Arrival, added_s, figures, live_trace
from hotset.simulator import simulate
from unit.simulator.worlds import FLEET, poisson

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("policy", ["hotset", "fifo"])
def test_the_figures_are_those_of_the_simulator(policy: Any) -> None:
    events: list[Mapping[str, Any]] = []
    jobs = poisson(0.8, 200, 3)
    jobs = [type(j)(j.id, j.arrive_s, j.queue, j.run_s, FLEET.queues[j.queue].deadline_s) for j in jobs]
    report = simulate(FLEET, jobs, policy, trace=events.append).report()
    found = figures(events, FLEET)
    for name in ("throughput_per_h", "goodput", "swaps", "deadline_missed", "makespan_s"):
        assert found[name] == pytest.approx(report[name]), name
    assert found["wait_s_p50"] == pytest.approx(report["wait_s"]["p50"], rel=0.1)
    assert added_s(events, {j.id: j.run_s for j in jobs}) == pytest.approx(0.0, abs=1e-9)


def test_a_live_log_worked_out_by_hand(tmp_path: Path) -> None:
    """Scale 0.5. Both jobs arrive a model second before the load; the second waits for the first."""
    rows = [
        (0.0, "load", {"model": "tinyllama"}),
        (2.0, "loaded", {"model": "tinyllama"}),
        (2.25, "start", {"job": "a", "model": "tinyllama"}),
        (6.5, "finish", {"job": "a", "outcome": "succeeded"}),
        (6.75, "start", {"job": "b", "model": "tinyllama"}),
        (35.75, "finish", {"job": "b", "outcome": "succeeded"}),
    ]
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(
            json.dumps({"t": t, "event": e, "gpu": "gpu0", **more, "at": (NOON + timedelta(seconds=t / 2)).isoformat()})
            + "\n"
            for t, e, more in rows
        )
    )
    came = NOON - timedelta(seconds=0.5)
    events = live_trace(log, [Arrival("a", "tinyllama", came), Arrival("b", "tinyllama", came)], scale=0.5)

    assert [e["t"] for e in events] == [0.0, 0.0, 1.0, 3.0, 3.25, 7.5, 7.75, 36.75]
    found = figures(events, FLEET)
    assert found["makespan_s"] == 36.75
    assert found["throughput_per_h"] == pytest.approx(2 * 3600 / 36.75)
    assert found["goodput"] == pytest.approx((4.25 + 29) / (2 * 36.75))
    assert (found["wait_s_p50"], found["wait_s_p99"]) == (3.25, 7.75)
    assert (found["swaps"], found["deadline_missed"]) == (1, 0)
    assert added_s(events, {"a": 4.0, "b": 28.75}) == pytest.approx(0.25 + 0.25)


def test_jain() -> None:
    assert jain([3, 3, 3]) == 1.0
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1.0
