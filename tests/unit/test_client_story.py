"""A job as a story: each word once and in order, whatever of the messages was lost, doubled or late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.client.news import Ended, Heard, Loading, News, Seen
from hotset.client.streaming import Story, StreamEvent
from hotset.errors import InvalidJob
from hotset.jobs import JobResult, JobView, Priority, State
from hotset.store.waiting import Glance

ID = UUID(int=7)
BORN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = BORN + timedelta(seconds=3)


def a_glance(state: State = State.QUEUED, attempt: int = 0, *, stream: bool = True) -> Seen:
    started = None if state.waiting else LATER
    return Seen(Glance(ID, state, attempt, "qwen", Priority.NORMAL, False, BORN, started, "me", stream))


def an_end(text: str, attempt: int = 1, thinking: str = "") -> Ended:
    result = JobResult(text, thinking, "m", False, {}, {})
    view = JobView(
        ID, State.SUCCEEDED, "a", "qwen", "default", Priority.NORMAL, attempt, 0, 0, BORN, BORN, LATER, LATER, None,
        "w", 1.0, 1.0, None, None, {},
    )  # fmt: skip
    return Ended(replace(view, result=result))


def started(attempt: int = 1) -> Heard:
    return Heard({"event": "started", "attempt": attempt, "at": LATER.timestamp()})


def token(seq: int, text: str, attempt: int = 1) -> Heard:
    return Heard({"event": "tokens", "attempt": attempt, "seq": seq, "text": text, "at": LATER.timestamp()})


def tell(story: Story, *news: News) -> list[StreamEvent]:
    return [event for each in news for event in story.tell(each, LATER)]


def new(after: str | None = None) -> Story:
    return Story(after, scale=0.5, model_of={"qwen": "qwen2.5-coder:7b"})


def words(events: list[StreamEvent]) -> str:
    """What a reader has who follows the rules: a new start voids what came before."""
    said = ""
    for event in events:
        said = "" if event.kind == "started" else said + event.text
    return said


def test_a_smooth_run() -> None:
    events = tell(new(), a_glance(), started(), token(0, "to "), token(1, "be"), an_end("to be"))
    assert [e.kind for e in events] == ["queued", "started", "token", "token", "done"]
    assert [e.elapsed_s for e in events] == [0.0, 6.0, 6.0, 6.0, 6.0]
    assert words(events) == "to be" and events[-1].result is not None
    assert len({e.id for e in events}) == len(events)


def test_what_came_before_the_job_was_seen_is_kept_in_order() -> None:
    events = tell(new(), started(), token(0, "hi"), a_glance(State.RUNNING, 1), an_end("hi"))
    assert [e.kind for e in events] == ["queued", "started", "token", "done"]


def test_a_gap_is_asked_for_and_nothing_is_said_past_it() -> None:
    story = new()
    events = tell(story, a_glance(), started(), token(0, "a"), token(2, "c"))
    assert words(events) == "a" and story.wants == (1, 1)
    kept = [token(1, "b").event, token(2, "c").event, token(3, "d").event]
    events += story.fill(kept, LATER)
    assert story.wants is None
    events += tell(story, token(3, "d"), token(4, "e"), an_end("abcde"))
    assert [e.text for e in events if e.kind == "token"] == ["a", "b", "c", "d", "e"]


def test_what_is_gone_for_good_comes_from_the_result() -> None:
    story = new()
    events = tell(story, a_glance(), started(), token(0, "a"), token(2, "c"))
    events += story.fill([token(2, "c").event], LATER)
    assert story.wants is None, "it is gone: asking again is no use"
    events += tell(story, token(3, "d"), an_end("abcd"))
    assert [e.text for e in events if e.kind == "token"] == ["a", "bcd"]


def test_a_new_attempt_voids_what_was_said() -> None:
    events = tell(
        new(), a_glance(), started(), token(0, "wrong"), token(0, "right", 2), token(1, "late"), an_end("right", 2)
    )
    begun = [e for e in events if e.kind == "started"]
    assert [(e.attempt, e.restarted) for e in begun] == [(1, False), (2, True)]
    assert words(events) == "right"


def test_an_attempt_of_which_nothing_was_heard_is_told_from_its_result() -> None:
    events = tell(new(), a_glance(), started(), token(0, "wrong"), an_end("right", 2, "because"))
    assert words(events) == "right" and events[-2].thinking == "because"
    assert [e.restarted for e in events if e.kind == "started"] == [False, True]


def test_a_job_that_sends_no_tokens_gives_its_words_at_the_end() -> None:
    story = new()
    events = tell(story, a_glance(stream=False), started())
    story.lagging()
    assert story.wants is None
    assert [e.kind for e in events + tell(story, an_end("all"))] == ["queued", "started", "token", "done"]


def test_only_the_load_of_its_own_model_is_told_and_once() -> None:
    mine = Loading("gpu0", "qwen2.5-coder:7b", LATER.timestamp())
    events = tell(new(), a_glance(), Loading("gpu0", "tinyllama", None), mine, mine, started(), mine)
    assert [(e.kind, e.gpu) for e in events] == [("queued", None), ("loading", "gpu0"), ("started", None)]


@pytest.mark.parametrize("bad", ["", "1-2-3", "a-b-c-d", "1-2-3-4-5", "x" * 1000])
def test_what_is_no_event_id_is_refused(bad: str) -> None:
    if bad:
        with pytest.raises(InvalidJob, match="no id of an event"):
            new(bad)


def test_pieces_are_not_asked_for_once_the_end_was_told() -> None:
    """The end was heard before the job was seen: who resumes lags behind, and has all of it from the result."""
    story = new("1-1-2-0")
    events = tell(story, an_end("to be", attempt=2), a_glance(State.SUCCEEDED, 2))
    assert [e.kind for e in events] == ["started", "token", "done"] and words(events) == "to be"
    assert story.wants is None
    assert list(story.fill([token(0, "to be", attempt=2).event], LATER)) == []


def test_nothing_comes_after_done() -> None:
    last = tell(new(), a_glance(), started(), an_end("x"))[-1]
    assert new(last.id).over


PIECES = ["w", "or", "ds ", "th", "at ", "mat", "ter", "."]
TEXT = "".join(PIECES)
ALL: list[dict[str, Any]] = [dict(token(i, piece, 2).event) for i, piece in enumerate(PIECES)]


@given(
    heard=st.lists(st.integers(0, len(PIECES) - 1), max_size=20).map(sorted),
    kept_from=st.integers(0, len(PIECES)),
    answers=st.booleans(),
    resume_at=st.integers(0, 12),
)
def test_whatever_is_lost_the_words_are_the_results(
    heard: list[int], kept_from: int, answers: bool, resume_at: int
) -> None:
    """Pieces may be missing, doubled or trimmed; the cache may be away; the reader may leave and resume."""

    def follow(after: str | None) -> list[StreamEvent]:
        story, events = new(after), []

        def ask(upto: int) -> None:
            if story.wants is not None and answers:
                first = max(kept_from, story.wants[1])
                events.extend(story.fill(ALL[first : upto + 1], LATER))

        events += tell(story, a_glance(State.RUNNING, 2))
        ask(-1)
        for seq in heard:
            events += tell(story, token(seq, PIECES[seq], 2))
            ask(seq)
        return events + tell(story, an_end(TEXT, 2))

    whole = follow(None)
    assert words(whole) == TEXT
    had = whole[:resume_at]
    if had and had[-1].kind != "done":
        assert words(had + follow(had[-1].id)) == TEXT
