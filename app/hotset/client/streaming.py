"""A job as a story: its events in their order, each once, whatever was lost on the way.

`Story` is the pure part: news in, events out. It counts the pieces and characters of the present attempt; a piece that
is missing is asked for (`wants`), and text is never given past a hole. What cannot be had again comes at the end, from
the committed result: the words of all `token` events since the last `started` are always the result's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from hotset.client.news import Ended, Heard, Loading, News, Seen
from hotset.errors import InvalidJob
from hotset.jobs import JobResult, JobView, State
from hotset.store.waiting import Glance

_DONE = "done"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """What happened to a job. `id` continues after it (`job.stream(after=event.id)`).

    queued    it waits
    loading   `gpu` loads its `model`
    started   an attempt runs; `restarted`: what an attempt before it said is void
    token     more of the answer: `text`, `thinking`
    done      it has ended: `state`, and `result` or `error`

    `at` is the time of day; `elapsed_s` are model seconds since it was submitted.
    """

    kind: Literal["queued", "loading", "started", "token", "done"]
    id: str
    at: datetime
    elapsed_s: float
    text: str = ""
    thinking: str = ""
    attempt: int = 0
    restarted: bool = False
    state: State | None = None
    gpu: str | None = None
    model: str | None = None
    result: JobResult | None = None
    error: str | None = None

    def __repr__(self) -> str:
        """Only what says something."""
        names = [f.name for f in fields(self)[4:] if f.name != "result" and getattr(self, f.name)]
        more = "".join(f", {name}={str(getattr(self, name))!r}" for name in names)
        return f"StreamEvent({self.kind}, {self.at:%H:%M:%S.%f}, {self.elapsed_s:.3f} s, id={self.id!r}{more})"


@dataclass(slots=True)
class _Place:
    """How far it has been told: the next piece of an attempt, and the characters before it."""

    attempt: int = 0
    seq: int = 0
    text: int = 0
    thinking: int = 0
    done: bool = False

    @classmethod
    def after(cls, event_id: str) -> _Place:
        parts = event_id.split("-")
        done = parts[-1] == _DONE
        try:
            attempt, seq, text, thinking = (int(p) for p in (parts[:-1] if done else parts))
        except ValueError:
            raise InvalidJob(
                f"{event_id[:64]!r} is no id of an event.", remedy="Give the `id` of the last event that you have."
            ) from None
        return cls(attempt, seq, text, thinking, done)

    def __str__(self) -> str:
        told = f"{self.attempt}-{self.seq}-{self.text}-{self.thinking}"
        return f"{told}-{_DONE}" if self.done else told


class Story:
    """`model_of`: queue -> model, to know whose load matters. `now` gives the time of day, in UTC."""

    def __init__(self, after: str | None, *, scale: float, model_of: Mapping[str, str]) -> None:
        self._place = _Place.after(after) if after else _Place()
        self._told_before = after is not None
        self._scale = scale
        self._model_of = model_of
        self._glance: Glance | None = None
        self._early: list[News] = []
        self._loading: tuple[str, str] | None = None
        # A piece of this attempt is gone for good: the rest comes with the result.
        self._hole = False
        self._behind = False

    @property
    def over(self) -> bool:
        return self._place.done

    @property
    def waits(self) -> bool:
        """It is known to wait: loads matter."""
        return self._glance is not None and self._place.attempt == 0 and not self.over

    @property
    def model(self) -> str | None:
        return self._model_of.get(self._glance.queue) if self._glance is not None else None

    @property
    def wants(self) -> tuple[int, int] | None:
        """The attempt and the number of the first piece that is missing, if one is."""
        return (self._place.attempt, self._place.seq) if self._behind and not self._hole and not self.over else None

    def tell(self, news: News, now: datetime) -> Iterator[StreamEvent]:
        """What the news means to the reader. Until the job was seen, news wait."""
        if self._place.done:
            return
        if isinstance(news, Seen):
            yield from self._seen(news.glance, now)
        elif self._glance is None:
            self._early.append(news)
        elif isinstance(news, Heard):
            yield from self._heard(news.event, now)
        elif isinstance(news, Loading):
            yield from self._load(news, now)
        elif isinstance(news, Ended):
            yield from self._ended(news.view)

    def lagging(self) -> None:
        """Messages may have been missed: pieces are wanted, if the job is one that sends them."""
        if self._glance is not None and self._glance.stream and self._place.attempt > 0:
            self._behind = True

    def fill(self, pieces: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[StreamEvent]:
        """The pieces that are kept of those that were wanted."""
        self._behind = False
        if self.over:
            return
        for piece in pieces:
            yield from self._heard(piece, now)
        if self._behind:
            # The first of them is past what is wanted: what lies between is gone.
            self._hole, self._behind = True, False

    # ---- by kind of news -------------------------------------------------------------------------------------

    def _seen(self, glance: Glance, now: datetime) -> Iterator[StreamEvent]:
        first, self._glance = self._glance is None, glance
        if first and not self._told_before:
            yield self._event("queued", glance.arrived_at, state=glance.state if glance.state.waiting else State.QUEUED)
        if glance.attempt > self._place.attempt and not glance.state.waiting:
            yield self._start(glance.attempt, glance.started_at or now)
            self.lagging()
        elif first:
            self.lagging()
        if first:
            early, self._early = self._early, []
            for news in early:
                yield from self.tell(news, now)

    def _heard(self, event: Mapping[str, Any], now: datetime) -> Iterator[StreamEvent]:
        attempt, at = int(event.get("attempt", 0)), _time(event.get("at"), now)
        if attempt < self._place.attempt:
            return
        if attempt > self._place.attempt:
            yield self._start(attempt, at)
        if event.get("event") != "tokens":
            return
        seq = int(event["seq"])
        if seq > self._place.seq:
            self._behind = True
        elif seq == self._place.seq and not self._hole:
            self._place.seq += 1
            yield self._token(str(event.get("text", "")), str(event.get("thinking", "")), at)

    def _load(self, load: Loading, now: datetime) -> Iterator[StreamEvent]:
        if self.waits and load.model == self.model and self._loading != (load.gpu, load.model):
            self._loading = (load.gpu, load.model)
            yield self._event("loading", _time(load.at, now), gpu=load.gpu, model=load.model)

    def _ended(self, view: JobView) -> Iterator[StreamEvent]:
        at = view.finished_at or view.arrived_at
        result = view.result
        if result is not None:
            told = self._place
            if view.attempt != told.attempt or told.text > len(result.text) or told.thinking > len(result.thinking):
                yield self._start(view.attempt, view.started_at or at)
            text, thinking = result.text[self._place.text :], result.thinking[self._place.thinking :]
            if text or thinking:
                yield self._token(text, thinking, at)
        self._place.done = True
        yield self._event("done", at, state=view.state, result=result, error=view.error)

    # ---- making events ---------------------------------------------------------------------------------------

    def _start(self, attempt: int, at: datetime) -> StreamEvent:
        self._place = _Place(attempt)
        self._hole = self._behind = False
        self._loading = None
        return self._event("started", at, restarted=attempt > 1)

    def _token(self, text: str, thinking: str, at: datetime) -> StreamEvent:
        self._place.text += len(text)
        self._place.thinking += len(thinking)
        return self._event("token", at, text=text, thinking=thinking)

    def _event(self, kind: Any, at: datetime, **what: Any) -> StreamEvent:
        arrived = self._glance.arrived_at if self._glance is not None else at
        elapsed = max(0.0, (at - arrived).total_seconds()) / self._scale
        return StreamEvent(kind, str(self._place), at, elapsed, attempt=self._place.attempt, **what)


def _time(at: object, otherwise: datetime) -> datetime:
    return datetime.fromtimestamp(at, UTC) if isinstance(at, float | int) else otherwise
