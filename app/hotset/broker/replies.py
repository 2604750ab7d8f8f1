"""What waiting clients are told: one channel per client process, tokens only for those who asked.

    hs:wake:{client}            channel   JSON: {job, event: started | tokens | ended, at, ...}, of jobs it submitted
    hs:job:{job}                channel   the same, for other processes that wait for that job
    hs:loads                    channel   JSON: {gpu, model, at}: a GPU begins to load a model
    hs:inbox:{tenant}:{agent}   channel   nothing but the news that this inbox may hold something
    hs:tokens:{job}:{attempt}   stream    the token events, capped, for whoever resumes; entry `seq + 1`-0

`at` is a time of day, epoch seconds of the sender's clock. They live in the cache Redis and may be lost: the result is
in Postgres, and clients look there as well.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hotset.broker.lanes import connect_redis
from hotset.broker.outbox import Outbox
from hotset.broker.scripts import lua

log = logging.getLogger(__name__)

LOADS = "hs:loads"
KEEP_TOKENS_S = 900
LONGEST_STREAM = 10_000
#: Wall seconds that messages are held for a cache that is away; then they are dropped.
_HOLD_S = 10.0
_AGAIN_S = 0.1

_TELL = lua("tell")


def channel(client: str) -> str:
    """The channel of a client process."""
    return f"hs:wake:{client}"


def job_channel(job: UUID) -> str:
    """The channel of one job."""
    return f"hs:job:{job}"


def inbox_channel(tenant: str, agent: str) -> str:
    """The channel of an agent's inbox."""
    return f"hs:inbox:{tenant}:{agent}"


def _token_key(job: UUID, attempt: int) -> str:
    return f"hs:tokens:{job}:{attempt}"


class _Message(NamedTuple):
    """The five arguments that `tell.lua` takes for each."""

    client: str
    job: str
    key: str
    id: str
    body: str


class Replies:
    """The sending side: in order, from a thread of its own, so that no run waits for the cache.

    A cache that is away costs promptness, never a job: messages are held for some seconds, then dropped.
    """

    def __init__(self, url: str) -> None:
        self.redis = connect_cache(url)
        self._outbox: Outbox[_Message] = Outbox("hotset-replies", self._send)
        self._away = False
        self._closing = False

    def started(self, client: str | None, job: UUID, attempt: int, *, restarted: bool) -> None:
        self._tell(client, job, {"event": "started", "attempt": attempt, "restarted": restarted})

    def ended(self, client: str | None, job: UUID, state: str) -> None:
        self._tell(client, job, {"event": "ended", "state": state})

    def tokens(self, client: str, job: UUID, attempt: int, seq: int, text: str, thinking: str) -> None:
        """A piece of an answer; `seq` counts from 0 within an attempt, so that a gap is seen."""
        event = {"event": "tokens", "attempt": attempt, "seq": seq, "text": text, "thinking": thinking}
        self._tell(client, job, event, key=_token_key(job, attempt), entry=f"{seq + 1}-0")

    def loading(self, gpu: str, model: str) -> None:
        """A GPU begins to load a model."""
        self._outbox.put(_Message(LOADS, "", "", "", _dumps({"gpu": gpu, "model": model, "at": _now()})))

    def mail(self, tenant: str, agent: str) -> None:
        """Something was put into that agent's inbox."""
        self._outbox.put(_Message(inbox_channel(tenant, agent), "", "", "", ""))

    def _tell(self, client: str | None, job: UUID, event: Mapping[str, Any], *, key: str = "", entry: str = "") -> None:
        self._outbox.put(_message(client, job, event, key=key, entry=entry))

    def _send(self, messages: list[_Message]) -> None:
        until = time.monotonic() + _HOLD_S
        while True:
            try:
                _publish(self.redis, messages)
            except redis.RedisError as e:
                if not self._away:
                    self._away = True
                    log.warning("Clients cannot be told of their jobs: %s", e)
                if self._closing or time.monotonic() >= until:
                    return
                time.sleep(_AGAIN_S)
            else:
                self._away = False
                return

    def close(self) -> None:
        self._closing = True
        self._outbox.close()
        self.redis.close()


def tell_ended(client: redis.Redis, ended: Iterable[tuple[str | None, UUID, str]]) -> None:
    """Tell whoever waits that jobs have ended: (reply address, job, state), a hundred in one call of the cache, from
    this thread. Raises redis.RedisError."""
    messages = [_message(reply_to, job, {"event": "ended", "state": state}) for reply_to, job, state in ended]
    for first in range(0, len(messages), 100):
        _publish(client, messages[first : first + 100])


def tell_inboxes(client: redis.Redis, tenant: str, agents: Iterable[str]) -> None:
    """Wake whoever waits at these inboxes, from this thread. Raises redis.RedisError."""
    channels = [inbox_channel(tenant, agent) for agent in agents]
    for first in range(0, len(channels), 100):
        _publish(client, [_Message(name, "", "", "", "") for name in channels[first : first + 100]])


def read_tokens(client: redis.Redis, job: UUID, attempt: int, seq: int) -> list[dict[str, Any]]:
    """The token events of an attempt from that number on, as far as they are kept. Raises redis.RedisError."""
    found = cast(list[tuple[str, dict[str, str]]], client.xrange(_token_key(job, attempt), f"{seq + 1}-0"))
    return [json.loads(fields["e"]) for _, fields in found]


def forget_tokens(client: redis.Redis, jobs: Mapping[UUID, int]) -> None:
    """Drop the token streams of these jobs, given with their last attempt. Raises redis.RedisError."""
    keys = [_token_key(job, attempt) for job, last in jobs.items() for attempt in range(1, last + 1)]
    for first in range(0, len(keys), 1000):
        client.unlink(*keys[first : first + 1000])


def connect_cache(url: str, *, text: bool = True) -> redis.Redis:
    """A client of the cache that fails at once: who waits has a better way to wait. `text`: see connect_redis."""
    client = connect_redis(url, name="cache_url", text=text)
    # One more try, for a connection that stood before the cache was restarted.
    client.set_retry(Retry(NoBackoff(), 1))
    return client


def _message(client: str | None, job: UUID, event: Mapping[str, Any], *, key: str = "", entry: str = "") -> _Message:
    body = _dumps({"job": str(job), **event, "at": _now()})
    return _Message("" if client is None else channel(client), job_channel(job), key, entry, body)


def _publish(client: redis.Redis, messages: list[_Message]) -> None:
    client.eval(_TELL, 0, LONGEST_STREAM, KEEP_TOKENS_S, *(part for message in messages for part in message))


def _dumps(event: Mapping[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))


def _now() -> float:
    return round(time.time(), 4)
