"""The parts of the schedule bench that no acceptance test runs."""

from __future__ import annotations

from hotset.lab.schedule import run_schedule


def test_a_part_of_a_million_jobs_can_be_scaled_down() -> None:
    steps: list[str] = []
    report = run_schedule(["million"], seeds=1, jobs=10, progress=steps.append)
    bars = {bar["bar"]: bar["median"] for bar in report["bars"]}
    assert {bar["part"] for bar in report["bars"]} == {"million"} and len(bars) == 4
    assert bars["simulated jobs per s"] > 0
    assert bars["memory grown in the second half MiB"] < 20
    assert report["arms"]["hotset"].keys() == {f"million_{name.replace(' ', '_')}" for name in bars}
