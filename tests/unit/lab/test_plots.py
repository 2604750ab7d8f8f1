"""Pictures: what is recorded of a run, and files that can be opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hotset.errors import HotsetError, UsageError
from hotset.fleet_file import classic_fleet
from hotset.lab.plots import Point, check_plot, plot_frontier, plot_policies, plot_run
from hotset.lab.recording import Recording
from hotset.simulator import simulate
from hotset.simulator.fleets import draw_fleet
from hotset.simulator.workloads import Workload, draw_jobs

FLEET = classic_fleet()
JOBS = tuple(draw_jobs(FLEET, Workload(jobs=40)))


def recorded(policy: str = "hot-first") -> tuple[Recording, dict[str, Any]]:
    recording = Recording()
    return recording, simulate(FLEET, JOBS, policy, trace=recording).report()  # type: ignore[arg-type]


def test_a_recording_agrees_with_the_report() -> None:
    recording, report = recorded()
    waits = sorted(wait for queue in recording.queues.values() for wait in queue.waits)
    assert len(waits) == report["jobs"]
    assert waits[-1] == pytest.approx(report["wait_s"]["max"])
    assert all(sum(queue.changes) == 0 for queue in recording.queues.values()), "nobody waits at the end"
    stays = recording.stays["gpu0"]
    assert len(stays) == report["swaps"]
    assert all(stay.loaded is not None and stay.loaded > stay.load for stay in stays)
    assert all(stay.end is None or stay.end >= (stay.loaded or 0) for stay in stays)


def test_a_job_that_leaves_waits_no_longer() -> None:
    recording = Recording()
    recording({"t": 0.0, "event": "arrive", "job": "a", "queue": "qwen"})
    recording({"t": 9.0, "event": "leave", "job": "a", "outcome": "expired"})
    assert list(recording.queues["qwen"].changes) == [1, -1]
    assert len(recording.queues["qwen"].waits) == 0


def test_a_job_that_starts_again_and_a_gpu_that_comes_back() -> None:
    recording = Recording()
    events: list[dict[str, Any]] = [
        {"t": 0.0, "event": "arrive", "job": "a", "queue": "qwen"},
        {"t": 0.0, "event": "load", "gpu": "g", "model": "m", "reason": "r"},
        {"t": 5.0, "event": "loaded", "gpu": "g", "model": "m"},
        {"t": 5.0, "event": "start", "gpu": "g", "job": "a", "model": "m"},
        {"t": 7.0, "event": "finish", "gpu": "g", "job": "a", "outcome": "retried"},
        {"t": 9.0, "event": "load", "gpu": "g", "model": "m", "reason": "r"},
        {"t": 14.0, "event": "loaded", "gpu": "g", "model": "m"},
        {"t": 14.0, "event": "start", "gpu": "g", "job": "a", "model": "m"},
        {"t": 20.0, "event": "finish", "gpu": "g", "job": "a", "outcome": "succeeded"},
    ]
    for event in events:
        recording(event)
    assert list(recording.queues["qwen"].changes) == [1, -1, 1, -1]
    assert list(recording.queues["qwen"].waits) == [5.0, 14.0]
    assert [(stay.load, stay.loaded, stay.end) for stay in recording.stays["g"]] == [(0.0, 5.0, 9.0), (9.0, 14.0, None)]


@pytest.mark.parametrize("ending", ["svg", "png", "html"])
def test_a_run_is_drawn(tmp_path: Path, ending: str) -> None:
    recording, report = recorded()
    path = tmp_path / f"run.{ending}"
    plot_run(recording, FLEET, report, path)
    data = path.read_bytes()
    if ending == "png":
        assert data.startswith(b"\x89PNG")
        return
    text = data.decode()
    for words in ("hot-first", "Jobs waiting", "Hot sets", "deepseek"):
        assert words in text
    if ending == "svg":
        assert ElementTree.fromstring(text).tag.endswith("svg")
        again = tmp_path / "again.svg"
        plot_run(recording, FLEET, report, again)
        assert again.read_bytes() == data, "the same run gives the same file"
    else:
        assert "<table>" in text
        assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
            "http://creativecommons.org", ""
        ).replace("https://matplotlib.org", ""), "nothing is fetched"


def test_policies_and_the_frontier_are_drawn(tmp_path: Path) -> None:
    both = {policy: recorded(policy) for policy in ("hot-first", "unlimited")}
    plot_policies({k: v[0] for k, v in both.items()}, {k: v[1] for k, v in both.items()}, tmp_path / "both.svg")
    assert "unlimited" in (tmp_path / "both.svg").read_text()
    points = [
        Point("balanced", 0.1, 0.98, "hotset"),
        Point("deadlines", 0.05, 0.95, "hotset"),
        Point("unlimited", 0.0, 1.0),
    ]
    plot_frontier(points, tmp_path / "frontier.html")
    page = (tmp_path / "frontier.html").read_text()
    assert "balanced" in page and "5.0%" in page


def test_a_fleet_of_many_models_and_no_jobs(tmp_path: Path) -> None:
    fleet = draw_fleet(20, 15)
    recording = Recording()
    report = simulate(fleet, draw_jobs(fleet, Workload(jobs=60)), "hot-first", trace=recording).report()
    plot_run(recording, fleet, report, tmp_path / "many.svg")
    plot_run(Recording(), FLEET, simulate(FLEET, ()).report(), tmp_path / "none.svg")


def test_what_cannot_be_drawn_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.html"):
        check_plot(tmp_path / "run.gif")
    check_plot(tmp_path / "run.SVG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HotsetError, match=r"hotset\[lab\]"):
        check_plot(tmp_path / "run.svg")
