"""Following a job: the plan that feeds a `Story` from the listener, the cache and Postgres."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import redis

from hotset.broker import Board, Lanes
from hotset.broker.replies import read_tokens
from hotset.client.news import Loading, Resubscribed, Seen, Trouble
from hotset.client.steps import Box, Call, Give, Plan, Take, is_over, sooner, until_after
from hotset.client.streaming import Story, StreamEvent
from hotset.errors import ResultTimeout

if TYPE_CHECKING:
    from hotset.client.client import Client
    from hotset.store.waiting import Glance

log = logging.getLogger(__name__)

#: A job that has not started by then (wall seconds) waits long enough for loads to be of interest: from the first on
#: it hears of those that begin, and it looks twice for one that had begun, since GPUs say what they do with some delay.
_PATIENCE_S = (0.05, 0.6)
#: What the cache did not give is asked for again after so many wall seconds.
_AGAIN_S = 0.5


def submit_and_follow(
    client: Client, submit: Callable[[Box], Glance | UUID], timeout: float | None
) -> Plan[StreamEvent, None]:
    """Follow a job from before it is accepted, so that its first tokens need not be asked for.

    `submit` accepts a job that the box is told of; it gives what is known of it, or the id of one that was accepted
    before.
    """
    box = Box(follow=True)
    try:
        known = yield Call(lambda: submit(box))
        if isinstance(known, UUID):
            client._listener.unwatch(box)
            yield from follow(client, known, None, timeout)
        else:
            yield from _follow(client, known.id, box, Story(None, **_world(client)), timeout, known)
    finally:
        client._listener.unwatch(box)


def follow(client: Client, job: UUID, after: str | None, timeout: float | None) -> Plan[StreamEvent, None]:
    """Follow a job that was accepted, from its beginning or from behind an event that the caller has."""
    story = Story(after, **_world(client))
    if story.over:
        return
    listener = client._here()._listener
    box = Box(follow=True)
    try:
        listener.watch([job], box)
        yield from _follow(client, job, box, story, timeout, None)
    finally:
        listener.unwatch(box)


def _follow(
    client: Client, job: UUID, box: Box, story: Story, timeout: float | None, known: Glance | None
) -> Plan[StreamEvent, None]:
    listener = client._listener
    until = until_after(timeout)
    seen, looks, failed = known is not None, list(_PATIENCE_S), False
    if known is not None:
        yield from _given(story.tell(Seen(known), _now()))
    while not story.over:
        pause = looks[0] if looks and story.waits else _AGAIN_S if story.wants else None
        news = yield Take(box, until if pause is None else sooner(until, pause))
        if news is None and is_over(until):
            raise ResultTimeout(f"Job {job} has not ended within {timeout} s; it goes on.")
        if isinstance(news, Trouble):
            if not seen:
                raise news.error
        elif isinstance(news, Resubscribed):
            story.lagging()
        elif news is not None:
            seen = True
            yield from _given(story.tell(news, _now()))
        elif looks and story.waits:
            del looks[0]
            listener.watch_loads(box)
        if not story.waits:
            listener.unwatch_loads(box)
        # A cache that did not answer is asked again after a while, or when it is heard of again.
        wanted = story.wants
        if wanted is not None and (not failed or news is None or isinstance(news, Resubscribed)):
            pieces = yield Call(partial(_pieces, listener.redis, job, wanted))
            failed = pieces is None
            yield from _given(story.fill(pieces, _now()) if pieces is not None else ())


def _given(events: Iterable[StreamEvent]) -> Plan[StreamEvent, None]:
    for event in events:
        yield Give(event)


def _world(client: Client) -> dict[str, Any]:
    model_of = {q.name: q.model for q in client.fleet.queues.values()}
    return {"scale": client.settings.scale, "model_of": model_of}


def _pieces(cache: redis.Redis, job: UUID, wanted: tuple[int, int]) -> list[dict[str, Any]] | None:
    """What the cache keeps from that piece on; None when it does not answer."""
    try:
        return read_tokens(cache, job, *wanted)
    except redis.RedisError as e:
        log.debug("Pieces of job %s could not be read: %s", job, e)
        return None


def loads_now(lanes: Lanes) -> list[Loading]:
    """The loads that are under way, as the GPUs say."""
    try:
        gpus = Board(lanes.redis).read()
    except redis.RedisError as e:
        log.debug("The GPUs could not be read: %s", e)
        return []
    return [Loading(g.name, g.loading, None) for g in gpus.values() if g.loading]


def _now() -> datetime:
    return datetime.now(UTC)
