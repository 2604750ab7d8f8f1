"""The reference lane against a list that is sorted each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.simulator.lanes import Lane


def test_an_empty_lane_gives_nothing() -> None:
    lane = Lane()
    assert lane.pick("oldest", 0) is None
    assert lane.pick("savable", 0) is None
    assert lane.oldest_arrival() is None
    assert lane.savable(0) == (0, None)


def test_selectors() -> None:
    lane = Lane()
    lane.add("old", 1.0, 100.0)
    lane.add("soon", 2.0, 50.0)
    lane.add("gone", 3.0, 10.0)
    assert lane.pick("overdue", 20.0) == lane.pick("oldest", 20.0) == "old"
    assert lane.pick("savable", 20.0) == "soon"
    assert lane.pick("savable", 50.0) == "soon", "a deadline that is now can still be met"
    assert lane.pick("savable", 50.1) == "old"
    assert lane.pick("savable", 100.1) == "old", "none left: the earliest arrival"
    assert lane.savable(20.0) == (2, 50.0)


def test_ties_go_to_the_smaller_id() -> None:
    lane = Lane()
    for name in ("b", "a", "c"):
        lane.add(name, 1.0, 5.0)
    assert lane.pick("oldest", 0) == lane.pick("savable", 0) == "a"


def test_misuse() -> None:
    lane = Lane()
    lane.add("a", 1.0, 5.0)
    with pytest.raises(ValueError, match="already"):
        lane.add("a", 1.0, 5.0)
    with pytest.raises(KeyError):
        lane.remove("b")


_TIMES = st.integers(0, 6).map(float)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), _TIMES, _TIMES), max_size=30),
    st.lists(st.tuples(st.sampled_from(["overdue", "oldest", "savable"]), _TIMES), max_size=30),
)
def test_any_order_of_adding_and_taking(adds: list[tuple[str, float, float]], takes: list[tuple[str, float]]) -> None:
    lane, plain = Lane(), {}
    steps = [("add", a) for a in adds[: len(adds) // 2]] + [("take", t) for t in takes]
    steps[1::2], steps[::2] = list(steps[1::2]), list(steps[::2])
    for kind, step in [*steps, *(("add", a) for a in adds[len(adds) // 2 :]), *(("take", t) for t in takes)]:
        if kind == "add":
            name, arrival, deadline = step  # type: ignore[misc]
            if name not in plain:
                lane.add(name, arrival, deadline)
                plain[name] = (arrival, deadline)
            continue
        selector, now = step  # type: ignore[misc]
        savable = sorted((d, n) for n, (_, d) in plain.items() if d >= now)
        oldest = sorted((a, n) for n, (a, _) in plain.items())
        expected = savable[0][1] if selector == "savable" and savable else oldest[0][1] if oldest else None
        assert lane.pick(selector, now) == expected  # type: ignore[arg-type]
        assert lane.savable(now) == (len(savable), savable[0][0] if savable else None)
        assert lane.oldest_arrival() == (oldest[0][0] if oldest else None)
        if expected is not None:
            assert expected in lane
            lane.remove(expected)
            del plain[expected]
        assert len(lane) == len(plain)
