"""Every bench once, tiny: the shape of its answer. The figures are for `hotset bench`, on a quiet machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hotset.cli.stage import bench
from hotset.errors import UsageError
from hotset.lab import BENCHES
from hotset.lab.figures import medians, percentile, ratios

#: formats.md, "hotset bench": bench -> arms, figures that others read, ratios.
PROMISED = {
    "overhead": (
        {"hotset", "direct"},
        {"first_token_ms_p50", "first_token_ms_p99", "added_ms_p50", "added_ms_p99"},
        {"hotset/direct"},
    ),
    "submit": (
        {"submit", "submit_many", "celery", "celery_batch"},
        {"jobs_per_s"},
        {"submit/celery", "submit_many/celery"},
    ),
    "stream": (
        {"hotset", "direct", "hotset_one", "direct_one"},
        {"first_token_ms_p50", "added_ms_p50", "added_ms_p99", "streams", "gaps"},
        {"hotset/direct", "hotset_one/direct_one"},
    ),
    "scale": ({"gpus_1", "gpus_2"}, {"throughput_per_h"}, {"gpus_2/gpus_1"}),
    "drain": ({"hotset", "celery", "celery_bare"}, {"jobs_per_s"}, {"hotset/celery", "hotset/celery_bare"}),
    "messages": (
        {"hotset", "redis_stream", "postgres_queue"},
        {"messages_per_s", "latency_ms_p50", "latency_ms_p99"},
        {"hotset/redis_stream", "hotset/postgres_queue"},
    ),
    "live": (
        {"hotset", "direct", "fifo", "celery", "predicted"},
        {"throughput_per_h", "goodput", "swaps", "wait_s_p50", "wait_s_p99", "deadline_missed"},
        {"hotset/direct", "hotset/fifo", "hotset/celery", "hotset/predicted"},
    ),
    "closed": ({"hotset"}, {"completions", "jain", "starved", "rejected", "lost", "doubled", "invalid"}, set()),
    "burst": ({"hotset"}, {"completions", "jain", "starved", "rejected", "lost", "doubled", "invalid"}, set()),
    "faults": ({"9 hotset", "9 celery"}, {"accepted", "succeeded", "lost", "started_twice", "committed_twice"}, set()),
}
JOBS = {
    "overhead": 3,
    "stream": 3,
    "submit": 10,
    "scale": 4,
    "drain": 10,
    "messages": 20,
    "live": 4,
    "closed": 4,
    "burst": 2,
    "faults": 10,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "live": {"fleet": "single", "scale": 0.02},
    "closed": {"minutes": 0.05, "scale": 0.01},
    "burst": {"agents": 6, "scale": 0.01},
    "faults": {"fault": [9], "quick": True},
}


@pytest.mark.servers
@pytest.mark.parametrize("name", PROMISED)
def test_a_bench_gives_what_formats_promise(name: str) -> None:
    arms, figures, pairs = PROMISED[name]
    said: list[str] = []

    report = bench(name, 1, said.append, jobs=JOBS[name], **OPTIONS.get(name, {}))

    assert report["bench"] == name
    assert report["runs"] == 1
    assert set(report["arms"]) == arms
    assert all(figures <= set(values) for values in report["arms"].values())
    assert pairs <= set(report["ratios"])
    found = [(figure, value) for pair in pairs for figure, value in report["ratios"][pair].items()]
    assert all(value > 0 or figure == "deadline_missed" for figure, value in found)
    for values in report["arms"].values():
        assert {values.get(wrong, 0) for wrong in ("rejected", "lost", "failed", "doubled", "unfinished")} == {0}
    if name == "live":
        # The model server keeps to the GPU's slots only where its clients do: those that call it directly do not.
        assert all(report["arms"][arm]["invalid"] == 0 for arm in ("hotset", "fifo", "celery", "predicted"))
    machine = report["machine"]
    assert machine["fsync"] == machine["synchronous_commit"] == "on"
    assert {"cores", "memory_gb", "cpu", "python", "postgres", "valkey", "celery"} <= set(machine)
    assert said
    json.dumps(report, allow_nan=False)
    assert not _left_behind()


def test_all_benches_are_tried_here() -> None:
    assert set(PROMISED) == set(BENCHES)


def test_an_option_of_another_bench_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'drain' has no option 'minutes'"):
        bench("drain", minutes=1.0)


def test_an_unknown_bench_is_named_with_its_neighbour() -> None:
    with pytest.raises(UsageError, match=r"no bench 'overheads'.*'overhead'"):
        bench("overheads")


def test_figures() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.99) == 4.0
    runs = [{"a": {"x": 2.0}, "b": {"x": 1.0}}, {"a": {"x": 9.0}, "b": {"x": 3.0}}, {"a": {"x": 4.0}, "b": {"x": 4.0}}]
    assert medians([run["a"] for run in runs]) == {"x": 4.0}
    assert ratios(runs, "a", "b", ["x"]) == {"x": 2.0}
    assert ratios([{"a": {"x": 1.0}, "b": {"x": 0.0}}], "a", "b", ["x"]) == {}


def _left_behind() -> list[str]:
    """Processes that still run in a bench's folder."""
    here = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if f"hotset-bench-{os.getpid()}-" in str(link.readlink()):
                here.append(str(link))
        except OSError:
            continue
    return here
