"""Forecasts of starts: what they must get right by hand-made examples, and what holds for any backlog."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.fleet import Model
from hotset.learning import Line, Server, forecast

MODELS = {
    "tiny": Model("tiny", 800, 2.0),
    "mid": Model("mid", 2500, 5.0),
    "big": Model("big", 3200, 6.0),
}
EMPTY_GPU = Server("gpu0", 3686, 2, 1.0, 0, {}, {})
TINY = Line("light", "tiny", 20, 2.0)
MID = Line("balanced", "mid", 10, 8.0)
BIG = Line("complex", "big", 6, 25.0)


def start(queue: str, ahead: int, lines: list[Line], *gpus: Server, max_wait_s: float = 900.0) -> float:
    found = forecast(queue, ahead, lines, gpus or (EMPTY_GPU,), MODELS, max_wait_s=max_wait_s)
    assert found.start_in_s is not None, found.basis
    return found.start_in_s


def test_one_queue_on_a_hot_model_is_its_work_by_the_slots() -> None:
    hot = replace(EMPTY_GPU, sizes={"tiny": 800})
    assert [start("light", ahead, [TINY], hot) for ahead in (0, 1, 2, 3, 19)] == [0.0, 0.0, 2.0, 2.0, 18.0]
    assert start("light", 19, [TINY], replace(hot, speed=2.0)) == 9.0
    assert start("light", 19, [TINY], hot, replace(hot, name="gpu1")) == 8.0


def test_a_cold_model_is_loaded_first_and_running_requests_are_waited_for() -> None:
    assert start("light", 0, [TINY]) == 2.0
    busy = Server("gpu0", 3686, 2, 1.0, 2, {"big": 3200}, {"big": 2})
    later = start("light", 0, [TINY, replace(BIG, jobs=0)], busy)
    assert 2.0 < later < 25.0 + 2.0
    loading = Server("gpu0", 3686, 2, 1.0, 0, {}, {}, loading="tiny")
    assert start("light", 0, [TINY], loading) == pytest.approx(1.0)


def test_another_model_waits_until_the_hot_one_has_nothing_left() -> None:
    hot = replace(EMPTY_GPU, sizes={"mid": 2500})
    # 10 jobs of 8 s on two slots, then the load.
    assert start("complex", 0, [MID, BIG], hot) == pytest.approx(40.0 + 6.0)
    # tiny fits beside mid: it loads into free VRAM as soon as a slot is free for it.
    assert start("light", 0, [MID, TINY], hot) < 60.0


def test_what_is_overdue_does_not_wait_for_the_hot_ones() -> None:
    hot = replace(EMPTY_GPU, sizes={"mid": 2500})
    waits = replace(MID, jobs=400)
    patient = start("complex", 0, [waits, BIG], hot)
    overdue = start("complex", 0, [waits, replace(BIG, oldest_s=800.0)], hot)
    assert patient >= 700.0 and overdue < 20.0


def test_no_gpu_and_no_room_are_said() -> None:
    assert forecast("light", 0, [TINY], (), MODELS, max_wait_s=900).start_in_s is None
    small = replace(EMPTY_GPU, vram_mb=1000)
    found = forecast("complex", 0, [BIG], (small,), MODELS, max_wait_s=900)
    assert found.start_in_s is None and "room for big" in found.basis


def test_the_longest_backlog_costs_no_more_than_a_short_one() -> None:
    lines = [replace(line, jobs=1_000_000) for line in (TINY, MID, BIG)]
    hot = replace(EMPTY_GPU, sizes={"tiny": 800})
    found = start("light", 500_000, lines, hot, max_wait_s=1e9)
    assert found == pytest.approx(500_000, rel=0.05)


counts = st.integers(0, 60)
starts = st.sampled_from(["light", "balanced", "complex"])


@given(counts, counts, counts, starts, st.integers(0, 50), st.sets(st.sampled_from(["tiny", "mid"])))
def test_further_back_is_never_earlier_and_every_job_gets_its_turn(
    light: int, balanced: int, complex_: int, queue: str, ahead: int, hot: set[str]
) -> None:
    lines = [replace(TINY, jobs=light), replace(MID, jobs=balanced), replace(BIG, jobs=complex_)]
    own = next(line for line in lines if line.queue == queue)
    lines = [replace(own, jobs=ahead + 2) if line is own else line for line in lines]
    gpu = replace(EMPTY_GPU, sizes={m: MODELS[m].size_mb for m in sorted(hot)})
    first, second = start(queue, ahead, lines, gpu), start(queue, ahead + 1, lines, gpu)
    assert 0.0 <= first <= second
    work = sum(line.jobs * line.run_s for line in lines)
    assert second <= work + 60 * 20, "it waits for more than all work and many loads"
