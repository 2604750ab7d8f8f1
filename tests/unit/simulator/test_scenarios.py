"""Agreement with figures that somebody else measured for the simple policies on the same jobs.

The table is that of the shared scenarios' README: throughput ÷ unlimited, misses, p99 wait (s), swaps per 1000.
`pytest -s` prints both. Round-robin differs by up to 1 % in places: it is not said there how a worker that finds its
next queue empty goes on. All else agrees to the digits that the table gives.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet
from hotset.simulator import Policy, SimJob, parse_jobs, simulate

_DATA = Path(__file__).parent / "data"
_TABLE: dict[str, dict[Policy, tuple[float, float, float, float]]] = {
    "classic-poisson-0.85": {
        "fifo": (0.58, 0.964, 6856, 517),
        "round-robin": (0.45, 0.974, 13704, 842),
        "hot-first": (0.99, 0.429, 912, 66),
    },
    "single-poisson-0.70": {
        "fifo": (0.64, 0.953, 6396, 641),
        "round-robin": (0.52, 0.971, 13187, 842),
        "hot-first": (1.00, 0.252, 331, 183),
    },
    "single-flood-0.70": {
        "fifo": (0.90, 0.744, 767, 312),
        "round-robin": (0.81, 0.805, 2506, 400),
        "hot-first": (1.00, 0.090, 204, 130),
    },
}


def _scenario(name: str) -> tuple[Fleet, tuple[SimJob, ...]]:
    fleet = classic_fleet()
    if name.startswith("single"):  # nothing fits together
        sizes = {"tinyllama": 1300.0, "qwen2.5-coder:7b": 3000.0, "deepseek-r1:8b": 3200.0}
        fleet = replace(fleet, models={n: replace(m, size_mb=sizes[n]) for n, m in fleet.models.items()})
    text = gzip.decompress((_DATA / f"{name}.jobs.jsonl.gz").read_bytes()).decode()
    return fleet, parse_jobs(text.splitlines(), fleet, name)


def _figures(fleet: Fleet, jobs: tuple[SimJob, ...], policy: Policy) -> tuple[float, float, float, float]:
    report = simulate(fleet, jobs, policy).report()
    reference = simulate(fleet, jobs, "unlimited").report()
    return (
        report["throughput_per_h"] / reference["throughput_per_h"],
        report["deadline_missed"] / report["jobs"],
        report["wait_s"]["p99"],
        report["swaps_per_1000"],
    )


@pytest.mark.parametrize("name", _TABLE)
def test_simple_policies_agree_with_the_table(name: str) -> None:
    fleet, jobs = _scenario(name)
    for policy, expected in _TABLE[name].items():
        got = _figures(fleet, jobs, policy)
        print(f"{name:22s} {policy:12s}", *(f"{g:9.3f} ({e:g})" for g, e in zip(got, expected, strict=True)))
        # The table is rounded: to 0.01, 0.001, 1 and 1.
        for figure, wanted, rounding in zip(got, expected, (0.01, 0.001, 1, 1), strict=True):
            assert figure == pytest.approx(wanted, rel=0.02, abs=rounding), (policy, got)


@pytest.mark.parametrize("name", _TABLE)
def test_hotset_misses_fewer_deadlines_than_hot_first_for_little_throughput(name: str) -> None:
    fleet, jobs = _scenario(name)
    ours, theirs = _figures(fleet, jobs, "hotset"), _figures(fleet, jobs, "hot-first")
    print(f"{name:22s} hotset      ", *(f"{o:9.3f} (hot-first {t:.3f})" for o, t in zip(ours, theirs, strict=True)))
    assert ours[0] > 0.95
    assert ours[1] < 0.9 * theirs[1]
    # In the flood 1 job in 100 is a deepseek's with a deadline of 600 s: it is served by then, and p99 is its wait.
    assert ours[2] < (600 if "flood" in name else theirs[2])
