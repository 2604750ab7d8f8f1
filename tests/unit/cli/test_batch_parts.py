"""The parts of a batch that need no server: keys, pace, swaps."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from hotset.broker import GpuState
from hotset.cli.batching.display import Pace
from hotset.cli.batching.lines import BadLine, Line, read_lines
from hotset.cli.batching.swaps import SwapCounter, fifo_swaps
from hotset.fleet_file import classic_fleet
from hotset.jobs import NewJob


def check(agent: str, prompt: str, **_: Any) -> NewJob:
    return NewJob(id=uuid7(), agent=agent, queue="qwen", prompt=prompt)


def keys(*rows: Any, run: str = "") -> list[str]:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return [line.key for line in read_lines(io.BytesIO(text.encode()), check, run)]


A, B = {"agent": "a", "prompt": "x"}, {"agent": "b", "prompt": "y"}


def test_keys_follow_what_a_line_says_not_where_it_stands() -> None:
    a, b = keys(A, B)
    assert a != b and keys(B, "", A) == [b, a]
    # Spaces and the order of names say nothing.
    assert keys('{"prompt":"x" ,  "agent":"a"}') == [a]
    # Equal lines are two jobs, wherever the second one is put.
    twice = keys(A, B, A)
    assert twice[0] == a and len(set(twice)) == 3 and keys(A, A, B)[1] == twice[2]
    assert keys(A, run="again") != [a]
    assert keys({**A, "key": "mine"}) == ["mine"]


def test_a_key_given_twice_is_a_bad_line_and_a_broken_one_keeps_its_key_too() -> None:
    good, twice = read_lines(io.BytesIO(b'{"agent":"a","prompt":"x","key":"k"}\n' * 2), check, "")
    assert isinstance(good, Line) and isinstance(twice, BadLine) and "line 1" in twice.error and twice.number == 2
    broken = keys("{", "[", "{")
    assert len(set(broken)) == 3 and keys("{", "{") == [broken[0], broken[2]]


def test_offsets_lead_back_to_the_line() -> None:
    text = json.dumps(A) + "\r\n\n" + json.dumps(B)  # the last one without a line break
    lines = list(read_lines(io.BytesIO(text.encode()), check, ""))
    assert [line.number for line in lines] == [1, 3]
    for line, row in zip(lines, (A, B), strict=True):
        assert isinstance(line, Line) and text[line.offset :].startswith(json.dumps(row))


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = Pace()
    assert pace.left(0.0, 0, 100) is None
    assert pace.left(10.0, 10, 100) == pytest.approx(90.0)
    for second in range(20, 200, 10):  # it became ten times slower
        left = pace.left(float(second), 10 + second // 10, 100)
    assert left == pytest.approx((100 - 29) * 10.0)
    assert pace.left(210.0, 100, 100) == 0.0


def gpu(worker: str, swaps: int) -> GpuState:
    return GpuState(name="g", worker=worker, vram_mb=1, slots=2, speed=1, busy=0, swaps=swaps)


def test_swaps_add_up_over_restarts_and_late_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotset.cli.batching.swaps._LOOK_S", 0.0)
    seen: list[dict[str, GpuState]] = [
        {"g": gpu("first", 7)},
        {"g": gpu("first", 9)},
        {},  # silent for a moment
        {"g": gpu("first", 10)},
        {"g": gpu("second", 2), "h": gpu("other", 4)},
    ]
    counter = SwapCounter(lambda: seen.pop(0))
    assert [counter.look() for _ in range(5)] == [0, 2, 2, 3, 9]


def test_fifo_swaps_are_simulated_in_the_order_given() -> None:
    fleet = classic_fleet()
    sorted_order = ["qwen"] * 10 + ["deepseek"] * 10
    mixed = ["qwen", "deepseek"] * 10
    assert fifo_swaps(fleet, []) == 0 and fifo_swaps(fleet, sorted_order) == 2
    assert (fifo_swaps(fleet, mixed) or 0) > 8
    # Long files are scaled up from their beginning.
    assert (fifo_swaps(fleet, mixed * 500) or 0) == pytest.approx(500 * (fifo_swaps(fleet, mixed) or 0), rel=0.2)
