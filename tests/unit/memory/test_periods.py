"""Days, weeks and months nest, and what is due is asked for in order; prompts keep to their budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.memory.periods import (
    KINDS,
    LEAST,
    Kind,
    Period,
    Uncovered,
    due,
    period_of,
    pieces,
    prompts,
    shortened,
    smaller,
)

times = st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
kinds = st.sampled_from(KINDS)
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@given(times, kinds, st.integers(-12, 14))
def test_a_period_holds_its_time_and_ends_where_the_next_begins(at: datetime, kind: Kind, hours: int) -> None:
    period = period_of(kind, at)
    assert period.start <= at < period.end
    assert period_of(kind, period.start) == period == period_of(kind, period.end - timedelta(microseconds=1))
    assert period_of(kind, period.end).start == period.end
    assert period_of(kind, at.astimezone(timezone(timedelta(hours=hours)))) == period


@given(times, kinds)
def test_smaller_periods_lie_within_larger_ones(at: datetime, kind: Kind) -> None:
    whole = period_of(kind, at)
    for part in smaller(kind):
        assert whole.start <= period_of(part, at).start < period_of(part, at).end <= whole.end


@given(times)
def test_a_month_has_four_weeks_or_five(at: datetime) -> None:
    month = period_of("month", at)
    assert (month.end - month.start).days in (28, 35)
    assert month.start.weekday() == 0 and month.start.day <= 7


def day(
    number: int, items: int, *, kind: Kind | None = None, memories: int | None = None, scope: str = "a"
) -> Uncovered:
    return Uncovered(scope, kind, MONDAY + timedelta(days=number), items, items if memories is None else memories)


def names(chosen: list[tuple[str, Period]]) -> list[tuple[str, str, int]]:
    return [(scope, p.kind, (p.start - MONDAY).days) for scope, p in chosen]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param([day(0, LEAST - 1)], [], id="too few"),
        pytest.param([day(0, LEAST)], [("a", "day", 0)], id="enough, and its week waits for it"),
        pytest.param([day(0, 3), day(1, 3)], [("a", "week", 0)], id="quiet days make a week"),
        pytest.param([day(0, 1, kind="day", memories=9)], [], id="a summary of one summary"),
        pytest.param([day(0, 1, kind="day", memories=9), day(2, 1)], [("a", "week", 0)], id="a day and the rest"),
        pytest.param([day(0, 3), day(9, 3)], [("a", "month", 0)], id="quiet weeks make a month"),
        pytest.param([day(0, 3), day(0, 3, scope="b")], [], id="scopes are apart"),
        pytest.param([day(0, 1, kind="month", memories=99), day(1, 4)], [], id="a month is part of nothing"),
        pytest.param([day(9, LEAST), day(0, LEAST)], [("a", "day", 0), ("a", "day", 9)], id="the older first"),
    ],
)
def test_what_is_due(found: list[Uncovered], wanted: list[tuple[str, str, int]]) -> None:
    assert names(due(found, (), NOW)) == wanted


def test_a_week_waits_for_its_days_and_for_its_end() -> None:
    found = [day(0, 1, kind="day", memories=9), day(2, 3)]
    asked = {("a", period_of("day", MONDAY + timedelta(days=4)))}
    assert due(found, asked, NOW) == []
    assert names(due(found, {("b", p) for _, p in asked}, NOW)) == [("a", "week", 0)]
    end = MONDAY + timedelta(days=7)
    assert due(found, (), end) == []
    assert names(due(found, (), end + timedelta(hours=1))) == [("a", "week", 0)]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=80), st.integers(50, 1000))
def test_prompts_hold_all_in_order_within_the_budget(sizes: list[int], budget: int) -> None:
    parts = prompts(sizes, budget)
    assert sum(parts) == len(sizes) and min(parts) > 0
    start = 0
    for length in parts:
        part = sizes[start : start + length]
        assert sum(part) <= budget or length == 1
        start += length
    if max(sizes) * 4 <= budget:
        assert len(parts) <= 2 * -(-sum(sizes) // budget)


@given(st.text(max_size=3000), st.integers(20, 500))
def test_a_text_is_cut_to_the_budget(text: str, budget: int) -> None:
    cut = shortened(text, budget)
    assert text.startswith(cut)
    assert pieces(cut) <= budget or len(cut) <= 1
    assert cut == text or pieces(text) > budget
