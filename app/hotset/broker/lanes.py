"""Waiting jobs in Redis: lanes ordered by deadline and by arrival, fair shares inside them, claims, and their return.

The keys are listed at the head of `lua/fair.lua`. Redis may lose all of it; the relay puts the jobs back from
Postgres, and tenants and agents start alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import redis

from hotset.broker.messages import encode
from hotset.broker.scripts import lua
from hotset.broker.subscription import PATIENCE, Subscription
from hotset.errors import BrokerUnavailable, InvalidSettings
from hotset.jobs import Priority, Routing
from hotset.scheduling.decisions import Selector

#: Published when there is new work; workers listen.
WAKE = "hs:wake"
#: Published with a job's id when it is to be cancelled.
CANCEL = "hs:cancel"
LONGEST_MESSAGE = 1_000_000
SWEEP = 50
#: Jobs that one script call publishes or removes: others wait for it, some 3 ms.
PUBLISH = 200
SUSPECT = "suspect"
#: How a Redis answers that lives and changes nothing: its disk or memory is full, its replicas are away, it is one.
_TAKES_NOTHING = ("MISCONF", "OOM", "READONLY", "NOREPLICAS", "MASTERDOWN")
#: Traces of messages that were put into quarantine, for the audit.
PUT_ASIDE = "hs:quarantine:untold"
#: How far ahead of the least served one a tenant or an agent may be, in expected runs of the queue: so much is left to
#: deadlines before shares decide. The simulator's lanes have the same.
CREDIT_RUNS = 2.5
#: Of more than so many that wait in a lane whose oldest job is late, the credit falls with the square of their number.
CROWD = 60


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane with jobs. Times are epoch seconds of the broker's clock."""

    queue: str
    name: str
    waiting: int
    oldest_arrival: float
    savable: int
    next_deadline: float | None

    @property
    def priority(self) -> int:
        """Suspects rank as normal: they have waited for their crash already, and must not starve."""
        return int(Priority.NORMAL) if self.name == SUSPECT else int(Priority[self.name.upper()])


@dataclass(frozen=True, slots=True)
class LanesState:
    """`now` is the broker's clock, epoch seconds."""

    now: float
    lanes: tuple[LaneState, ...]
    inbox: Mapping[str, int]


class Lanes:
    """The waiting jobs of all queues. Thread-safe; one per process. Raises BrokerUnavailable when Redis is away."""

    def __init__(
        self,
        url: str,
        *,
        weights: Mapping[str, float] | None = None,
        pace: float = 1.0,
        credit_s: float | None = None,
    ) -> None:
        """For who claims: `weights` are the tenants' (1 for others), `pace` the model seconds of work that its GPU
        does in a wall second on one slot."""
        self.redis = connect_redis(url, name="broker_url")
        # Messages are anybody's bytes: read as they are, and understood by `messages.decode`.
        self._bytes = connect_redis(url, name="broker_url", text=False)
        self._weights = json.dumps(dict(weights or {}))
        self._pace = pace
        self._credit_s = credit_s
        self._claim = self._bytes.register_script(lua("fair", "claim"))
        self._put_aside = self._bytes.register_script(lua("put_aside"))
        self._ack = self.redis.register_script(lua("fair", "ack"))
        self._publish = self.redis.register_script(lua("fair", "publish"))
        self._remove = self.redis.register_script(lua("fair", "remove"))
        self._snapshot = self.redis.register_script(lua("fair", "snapshot"))
        self._restore = self.redis.register_script(lua("fair", "restore"))
        self._position = self.redis.register_script(lua("fair", "position"))

    def __json__(self) -> str:
        """Celery's `inspect stats` shows the transport's options, of which this is one."""
        return type(self).__name__

    def publish(self, jobs: Sequence[Routing]) -> None:
        """Put jobs into their lanes, each atomically; one that is there already stays one. Wakes the workers."""
        with reachable(self.redis):
            for first in range(0, len(jobs), PUBLISH):
                arguments: list[Any] = []
                for j in jobs[first : first + PUBLISH]:
                    arrival, deadline = _ms(j.arrived_at.timestamp()), _ms(j.deadline_at.timestamp())
                    arguments += (j.queue, j.lane, str(j.id), arrival, deadline, j.tenant, j.agent, encode(j))
                self._publish(args=arguments)

    def snapshot(self, default_deadlines: Mapping[str, float]) -> LanesState:
        """Every lane with jobs, after a sweep of the inboxes. `default_deadlines`: queue -> wall seconds."""
        arguments: list[Any] = [SWEEP, LONGEST_MESSAGE]
        for queue, deadline_s in default_deadlines.items():
            arguments += [queue, _ms(deadline_s)]
        with reachable(self.redis):
            answer = cast(list[Any], self._snapshot(args=arguments))
        lanes: list[LaneState] = []
        inbox: dict[str, int] = {}
        for queue, left, *found in answer[1:]:
            inbox[queue] = left
            for name, waiting, oldest, savable, due in found:
                due_s = float(due) / 1000 if due else None
                lanes.append(LaneState(queue, name, waiting, float(oldest) / 1000, savable, due_s))
        return LanesState(answer[0] / 1000, tuple(lanes), inbox)

    def claim(self, queue: str, lane: str, selector: Selector, claim: str, expected_s: float = 0.0) -> bytes | None:
        """Take one job out of a lane and hold it under the name `claim`; its message, or None: the lane is empty.

        Which one: as the selector says, within the bounds of fair shares (see `simulator/lanes.py`, the reference).
        Its tenant and agent are charged `expected_s`, model seconds; what is wrong in that is put right by `ack`.
        """
        arguments: list[str | float] = [
            queue,
            lane,
            selector,
            claim,
            _ms(expected_s),
            self._pace,
            _ms(CREDIT_RUNS * expected_s if self._credit_s is None else self._credit_s),
            self._weights,
            CROWD,
        ]
        with reachable(self.redis):
            return cast(bytes | None, self._claim(args=arguments))

    def put_aside(self, queue: str, raw: bytes, reason: str) -> None:
        """Keep a message that nobody can run in quarantine, and its trace for the audit (`take_put_aside`)."""
        with reachable(self.redis):
            self._put_aside(args=[queue, raw, reason])

    def take_put_aside(self, limit: int = 100) -> list[dict[str, Any]]:
        """Traces of messages that were put aside, each given out once: queue, reason, bytes, sha1. No content."""
        with reachable(self.redis):
            found = cast(list[str] | None, self.redis.lpop(PUT_ASIDE, limit))
        return [json.loads(trace) for trace in found or ()]

    def return_put_aside(self, traces: Sequence[Mapping[str, Any]]) -> None:
        """They could not be written down: somebody takes them again."""
        with reachable(self.redis):
            self.redis.lpush(PUT_ASIDE, *(json.dumps(dict(trace)) for trace in traces))

    def ack(self, claim: str) -> float | None:
        """The claim's job is done with; forget it. How many model seconds it took, None for a claim that is gone."""
        with reachable(self.redis):
            took = cast(int | None, self._ack(args=[claim]))
        return None if took is None else took / 1000

    def give_back(self, claim: str) -> None:
        """The claim's job goes back to its lane at once, at no charge."""
        with reachable(self.redis):
            self._restore(args=[0, 0, claim])
            self.redis.publish(WAKE, "")

    def renew(self, claims: Iterable[str]) -> None:
        """The broker's lease: these claims are alive. Those that are gone (a flush) stay gone."""
        held = list(claims)
        if not held:
            return
        with reachable(self.redis):
            seconds, micros = self.redis.time()
            self.redis.zadd("hs:unacked:index", dict.fromkeys(held, seconds * 1000 + micros // 1000), xx=True)

    def restore_abandoned(self, older_s: float, limit: int = 100) -> int:
        """Claims that were not renewed for that many wall seconds go back to their lanes; how many."""
        with reachable(self.redis):
            return int(cast(int, self._restore(args=[limit, _ms(older_s)])))

    def remove(self, queue: str, *job_ids: UUID) -> None:
        """Take waiting jobs out (they were cancelled or have expired). Harmless for those that are not there."""
        with reachable(self.redis):
            for first in range(0, len(job_ids), PUBLISH):
                self._remove(args=[queue, *map(str, job_ids[first : first + PUBLISH])])

    def missing(self, jobs: Sequence[Routing]) -> list[Routing]:
        """Those of the jobs that wait in no lane: lost with the broker's memory, or just claimed. Also those that an
        older hotset published, without their owner: published again, they keep their place and get it."""
        with reachable(self.redis):
            pipe = self.redis.pipeline(transaction=False)
            for job in jobs:
                pipe.hexists(f"hs:message:{job.queue}", str(job.id))
                pipe.hexists(f"hs:owner:{job.queue}", str(job.id))
            found = pipe.execute()
        return [job for i, job in enumerate(jobs) if not (found[2 * i] and found[2 * i + 1])]

    def lengths(self, queues: Iterable[str]) -> dict[str, int]:
        """Waiting jobs by queue: lanes and inbox."""
        names = list(queues)
        with reachable(self.redis):
            pipe = self.redis.pipeline(transaction=False)
            for queue in names:
                pipe.hlen(f"hs:message:{queue}")
                pipe.llen(queue)
            found = pipe.execute()
        return {queue: found[2 * i] + found[2 * i + 1] for i, queue in enumerate(names)}

    def due_within(self, queue: str, seconds: float, *, skip: int = 0, most: int = 1000) -> list[UUID]:
        """Waiting jobs of a queue whose deadline is less than so many wall seconds away, or has passed: a page of each
        lane, the earliest first. Suspects are left out: they have begun once."""
        with reachable(self.redis):
            now_s, micros = self.redis.time()
            until = _ms(now_s + micros / 1e6 + seconds)
            pipe = self.redis.pipeline(transaction=False)
            for priority in Priority:
                pipe.zrangebyscore(f"hs:deadline:{queue}:{priority.label}", "-inf", until, start=skip, num=most)
            found = [name for names in pipe.execute() for name in names]
        return [job for name in found if (job := _uuid(name)) is not None]

    def position(self, queue: str, priority: Priority, job_id: UUID, *, suspect: bool) -> int | None:
        """How many jobs of the queue go before that one; None when it does not wait in its lane.

        Higher priorities first; in a lane those that can still meet their deadline, earliest first, then the others.
        Fair shares may bring it forward or back: they depend on what is claimed until then.
        """
        above = [p.label for p in sorted(Priority, reverse=True) if p > priority]
        if suspect:
            lane, before = SUSPECT, [p.label for p in Priority if p >= Priority.NORMAL]
        else:
            lane, before = priority.label, [*above, *([SUSPECT] if priority < Priority.NORMAL else [])]
        with reachable(self.redis):
            return cast(int | None, self._position(args=[queue, lane, str(job_id), *before]))

    def ask_cancel(self, job_id: UUID) -> None:
        """Tell the workers at once; they would see it at their next heartbeat."""
        with reachable(self.redis):
            self.redis.publish(CANCEL, str(job_id))

    def subscriber(self) -> Subscription:
        """A connection that listens to channels; the caller closes it."""
        return Subscription(self.redis, ignore_subscribe_messages=True)

    def close(self) -> None:
        self.redis.close()
        self._bytes.close()


def connect_redis(url: str, *, name: str, text: bool = True) -> redis.Redis:
    """A client with a small pool, connection and read time limits. `name` is the setting named in errors.

    `text`: answers are decoded; else they are bytes, as they came.
    """
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=text,
            # Anybody may have written, or published, what is read: bytes that are no text must not stop the reader.
            encoding_errors="replace" if text else "strict",
            **PATIENCE,
        )
        # Nothing connects yet; an unknown parameter of the address would be found out by the first command.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, IndexError):
        # Not chained: the message of the cause would show the password.
        raise InvalidSettings(
            f"{name} is not a Redis URL, or has a parameter that redis-py does not know.",
            remedy="It looks like redis://127.0.0.1:6379/0, with TLS like rediss://host:6379/0?ssl_ca_certs=ca.pem.",
        ) from None
    return client


@contextmanager
def reachable(client: redis.Redis) -> Iterator[None]:
    """When the broker does not answer within, or takes no changes: BrokerUnavailable in place of the driver's error."""
    try:
        yield
    except redis.ResponseError as e:
        if not str(e).startswith(_TAKES_NOTHING) and not isinstance(e, redis.OutOfMemoryError | redis.ReadOnlyError):
            raise
        raise BrokerUnavailable(
            f"Redis (the broker) takes no changes now: {e}.",
            remedy="Is its disk or its memory full, or is it a replica? Its log says; it goes on by itself afterwards.",
        ) from e
    except (redis.ConnectionError, redis.TimeoutError) as e:
        where = client.connection_pool.connection_kwargs
        raise BrokerUnavailable(
            f"Redis (the broker) does not answer at {where.get('host')}:{where.get('port')}: {e}.",
            remedy="Start it (`hotset up` starts an embedded one) or set HOTSET_BROKER_URL.",
        ) from e


def _uuid(name: str) -> UUID | None:
    """Messages of plain producers may have other ids."""
    try:
        return UUID(name)
    except ValueError:
        return None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
