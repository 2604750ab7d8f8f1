"""What waiting clients are told: one channel per client process, tokens only for those who asked.

    hs:wake:{client}            channel   JSON: {job, event: started | tokens | ended, ...}
    hs:tokens:{job}:{attempt}   stream    the same token events, capped, for whoever resumes

They live in the cache Redis and may be lost: the result is in Postgres, and clients look there as well.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import redis

from hotset.broker.lanes import connect_redis
from hotset.broker.outbox import Outbox

log = logging.getLogger(__name__)

KEEP_TOKENS_S = 900
LONGEST_STREAM = 10_000


def channel(client: str) -> str:
    """The channel of a client process."""
    return f"hs:wake:{client}"


class Replies:
    """The sending side: in order, from a thread of its own, so that no run waits for the cache.

    A cache that is away costs promptness, never a job: errors are logged and dropped.
    """

    def __init__(self, url: str) -> None:
        self.redis = connect_redis(url, name="cache_url")
        self._outbox = Outbox("hotset-replies")

    def started(self, client: str | None, job: UUID, attempt: int, *, restarted: bool) -> None:
        self._send(client, {"job": str(job), "event": "started", "attempt": attempt, "restarted": restarted})

    def ended(self, client: str | None, job: UUID, state: str) -> None:
        self._send(client, {"job": str(job), "event": "ended", "state": state})

    def tokens(self, client: str, job: UUID, attempt: int, seq: int, text: str, thinking: str) -> None:
        """A piece of an answer; `seq` counts from 0 within an attempt, so that a gap is seen."""
        event = {"job": str(job), "event": "tokens", "attempt": attempt, "seq": seq, "text": text, "thinking": thinking}
        body = json.dumps(event, separators=(",", ":"))
        self._outbox.put(lambda: self._send_tokens(client, job, attempt, seq, body))

    def _send_tokens(self, client: str, job: UUID, attempt: int, seq: int, body: str) -> None:
        key = f"hs:tokens:{job}:{attempt}"
        try:
            pipe = self.redis.pipeline(transaction=False)
            pipe.publish(channel(client), body)
            pipe.xadd(key, {"e": body}, maxlen=LONGEST_STREAM, approximate=True)
            if seq == 0:
                pipe.expire(key, KEEP_TOKENS_S)
            pipe.execute()
        except redis.RedisError as e:
            log.warning("Tokens of job %s could not be sent: %s", job, e)

    def _send(self, client: str | None, event: dict[str, Any]) -> None:
        if client is not None:
            self._outbox.put(lambda: self._publish(client, event))

    def _publish(self, client: str, event: dict[str, Any]) -> None:
        try:
            self.redis.publish(channel(client), json.dumps(event, separators=(",", ":")))
        except redis.RedisError as e:
            log.warning("Client %s could not be told of job %s: %s", client, event["job"], e)

    def close(self) -> None:
        self._outbox.close()
        self.redis.close()
