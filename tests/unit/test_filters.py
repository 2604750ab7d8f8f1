"""Words of people become filters, or an error that says what to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from hotset.errors import InvalidJob, UnknownJob
from hotset.jobs import OPEN, TERMINAL, WAITING, State
from hotset.jobs.filters import JobFilter, parse_id, parse_metadata, parse_states, parse_time

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ("failed", {State.FAILED}),
        ("Failed, expired", {State.FAILED, State.EXPIRED}),
        (["queued", "running"], {State.QUEUED, State.RUNNING}),
        ("open", OPEN),
        ("ended", TERMINAL),
        ("waiting,running", WAITING | {State.RUNNING}),
    ],
)
def test_states_and_groups_of_them(words: str | list[str], states: set[State]) -> None:
    assert parse_states(words) == states


@pytest.mark.parametrize("words", ["fialed", "", "failed,,expired", "all"])
def test_other_words_are_no_states(words: str) -> None:
    with pytest.raises(InvalidJob, match="There is no state") as refused:
        parse_states(words)
    assert "quarantined" in str(refused.value) and "open" in str(refused.value)


def test_a_near_word_is_proposed() -> None:
    with pytest.raises(InvalidJob, match="Did you mean 'failed'"):
        parse_states("fialed")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1h", NOW - timedelta(hours=1)),
        ("90", NOW - timedelta(seconds=90)),
        ("1d12h", NOW - timedelta(days=1, hours=12)),
        ("2026-04-30T08:00Z", datetime(2026, 4, 30, 8, tzinfo=UTC)),
        ("2026-04-30", datetime(2026, 4, 30, tzinfo=UTC)),
        ("2026-04-30T08:00+02:00", datetime(2026, 4, 30, 8, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_times_are_ago_or_of_day(text: str, time: datetime) -> None:
    assert parse_time(text, "--since", NOW) == time


@pytest.mark.parametrize("text", ["yesterday", "", "-1h", "0", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidJob, match="--since"):
        parse_time(text, "--since", NOW)


def test_metadata_splits_at_the_first_equals_sign() -> None:
    assert parse_metadata(["team=core", "query=a=b", "empty="]) == {"team": "core", "query": "a=b", "empty": ""}
    for bad in ("team", "=core"):
        with pytest.raises(InvalidJob, match="name=value"):
            parse_metadata([bad])


def test_ids() -> None:
    text = "0198c0de-0000-7000-8000-000000000000"
    assert parse_id(text) == UUID(text) == parse_id(UUID(text))
    with pytest.raises(UnknownJob):
        parse_id("nonsense")


def test_a_filter_knows_whether_it_leaves_anything_out() -> None:
    assert not JobFilter().selective
    # Whose jobs and which page say nothing about which of them.
    assert not JobFilter(tenant="*", limit=1, after=UUID(int=1)).selective
    for narrow in (
        JobFilter(states=frozenset({State.QUEUED})),
        JobFilter(agent="a"),
        JobFilter(queue="q"),
        JobFilter(since=NOW),
        JobFilter(until=NOW),
        JobFilter(error_kind="Crashed"),
        JobFilter(metadata={"a": "b"}),
        JobFilter(ids=(UUID(int=1),)),
    ):
        assert narrow.selective
