"""Messages among 131 agents: from send to handled, and how many a second, beside a Redis Stream and a bare queue in
Postgres.

Two parts, one after the other in each arm: first messages come one at a time, at a pace that troubles no arm, and each
is timed from the call that sends it to the end of its acknowledgement; then many at once, from several threads, and
what counts is the time until the last is acknowledged. All in one process. The rivals are what one writes oneself: a
stream with a consumer group, or a table with SKIP LOCKED, and a few threads that take whatever comes. They keep no
order between a sender and a recipient, know no inbox, no dead letters and no keys; the stream loses what its Redis
loses; and an idle queue in Postgres is looked at every few milliseconds, which hotset's inboxes are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

import psycopg
import redis

from hotset.client import AsyncClient, Client
from hotset.errors import ResultTimeout
from hotset.lab.figures import Run, percentile
from hotset.lab.stage import Addresses, Stage

AGENTS = tuple(f"agent-{i:03}" for i in range(131))
#: Threads that send, and threads that handle (of hotset: that its 131 inboxes share).
_SENDERS, _CONSUMERS = 4, 8
#: Of all messages so many are sent at a pace, and the pause between them.
_PACED, _PAUSE_S = 0.1, 0.02
#: What an idle consumer of the bare queue waits before it looks again.
_POLL_S = 0.005
_TIMEOUT_S = 600.0

#: (sender, recipient, when it was sent by time.perf_counter)
Sent = tuple[str, str, float]


class Tally:
    """What was handled: how old each was."""

    def __init__(self) -> None:
        self._handled = threading.Condition()
        self.ages: list[float] = []

    def handled(self, sent: float) -> None:
        with self._handled:
            self.ages.append(time.perf_counter() - sent)
            self._handled.notify_all()

    def wait_for(self, count: int) -> None:
        with self._handled:
            if not self._handled.wait_for(lambda: len(self.ages) >= count, _TIMEOUT_S):
                raise ResultTimeout(f"{count - len(self.ages)} of {count} messages were not handled.")


class Arm(Protocol):
    """Consumers run between `start` and `stop`."""

    def start(self, tally: Tally) -> None: ...

    def send(self, sender: str, recipient: str) -> None: ...

    def stop(self) -> None: ...


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    """`jobs`: messages."""
    for number in range(1, runs + 1):
        names = list(_ARMS)
        names = names[number % len(names) :] + names[: number % len(names)]  # nobody is always the first
        run = {name: _measure(_ARMS[name](stage.fresh()), jobs, seed=number) for name in names}
        said = (
            f"{n} {f['messages_per_s']:,.0f}/s, p50 {f['latency_ms_p50']:.1f} ms, p99 {f['latency_ms_p99']:.1f} ms"
            for n, f in run.items()
        )
        progress(f"run {number} of {runs}: {'; '.join(said)}")
        yield run


def _measure(arm: Arm, messages: int, *, seed: int) -> dict[str, float]:
    rng = random.Random(seed)
    pairs = [(rng.choice(AGENTS), rng.choice(AGENTS)) for _ in range(messages)]
    paced = max(1, round(messages * _PACED))
    tally = Tally()
    arm.start(tally)
    try:
        for sender, recipient in pairs[:paced]:
            arm.send(sender, recipient)
            time.sleep(_PAUSE_S)
        tally.wait_for(paced)
        ages = [1000 * age for age in tally.ages]
        began = time.perf_counter()
        with ThreadPoolExecutor(_SENDERS) as pool:
            list(pool.map(lambda pair: arm.send(*pair), pairs))
        tally.wait_for(paced + messages)
        took = time.perf_counter() - began
    finally:
        arm.stop()
    return {
        "messages_per_s": messages / took,
        "latency_ms_p50": percentile(ages, 0.5),
        "latency_ms_p99": percentile(ages, 0.99),
    }


class Hotset:
    """131 inboxes of one `AsyncClient`, each a task."""

    def __init__(self, addresses: Addresses) -> None:
        self._settings = addresses.settings()
        self._client = Client(settings=self._settings)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    def start(self, tally: Tally) -> None:
        self._thread = threading.Thread(target=self._main, args=(tally,), name="bench-inboxes")
        self._thread.start()
        self._ready.wait(_TIMEOUT_S)

    def send(self, sender: str, recipient: str) -> None:
        self._client.send(recipient, {"sent": time.perf_counter()}, from_=sender)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._all.cancel)
        self._thread.join()
        self._loop.close()
        self._client.close()

    def _main(self, tally: Tally) -> None:
        self._all = self._loop.create_task(self._consume(tally))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._all)

    async def _consume(self, tally: Tally) -> None:
        async def one(agent: str) -> None:
            async for msg in client.inbox(agent, batch=10):
                await msg.ack()
                tally.handled(msg.body["sent"])

        async with AsyncClient(settings=self._settings, threads=_CONSUMERS) as client:
            tasks = [asyncio.create_task(one(agent)) for agent in AGENTS]
            await asyncio.sleep(1.0)  # until all of them wait
            self._ready.set()
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


class RedisStream:
    """One stream, one consumer group."""

    _STREAM, _GROUP = "bench:messages", "bench"

    def __init__(self, addresses: Addresses) -> None:
        self._redis = redis.Redis.from_url(addresses.broker_url, decode_responses=True)
        self._stopping = threading.Event()

    def start(self, tally: Tally) -> None:
        self._redis.xgroup_create(self._STREAM, self._GROUP, mkstream=True)
        self._threads = _threads(lambda number: self._consume(f"consumer-{number}", tally))

    def send(self, sender: str, recipient: str) -> None:
        body = json.dumps({"sent": time.perf_counter()})
        self._redis.xadd(self._STREAM, {"from": sender, "to": recipient, "body": body})

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._redis.close()

    def _consume(self, name: str, tally: Tally) -> None:
        while not self._stopping.is_set():
            found = cast(Any, self._redis.xreadgroup(self._GROUP, name, {self._STREAM: ">"}, count=10, block=100))
            for _, entries in found or ():
                for entry, fields in entries:
                    self._redis.xack(self._STREAM, self._GROUP, entry)
                    tally.handled(json.loads(fields["body"])["sent"])


class PostgresQueue:
    """One table: taken with SKIP LOCKED and deleted in one transaction, which handling would be a part of."""

    _TAKE = """
        DELETE FROM bench_queue WHERE id = (SELECT id FROM bench_queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING body
    """

    def __init__(self, addresses: Addresses) -> None:
        self._url = addresses.database_url
        self._stopping = threading.Event()
        self._mine = threading.local()
        self._connections: list[psycopg.Connection[Any]] = []

    def start(self, tally: Tally) -> None:
        self._connected().execute(
            "CREATE TABLE bench_queue (id bigserial PRIMARY KEY, sender text, recipient text, body jsonb)"
        )
        self._threads = _threads(lambda _: self._consume(tally))

    def send(self, sender: str, recipient: str) -> None:
        self._connected().execute(
            "INSERT INTO bench_queue (sender, recipient, body) VALUES (%s, %s, %s)",
            (sender, recipient, json.dumps({"sent": time.perf_counter()})),
        )

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _consume(self, tally: Tally) -> None:
        connection = self._connected()
        while not self._stopping.is_set():
            row = connection.execute(self._TAKE).fetchone()
            if row is None:
                self._stopping.wait(_POLL_S)
            else:
                tally.handled(row[0]["sent"])

    def _connected(self) -> psycopg.Connection[Any]:
        """Each thread has its own."""
        if not hasattr(self._mine, "connection"):
            self._mine.connection = psycopg.connect(self._url, autocommit=True)
            self._connections.append(self._mine.connection)
        return cast("psycopg.Connection[Any]", self._mine.connection)


def _threads(consume: Callable[[int], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=consume, args=(number,), name="bench-consumer") for number in range(_CONSUMERS)]
    for thread in threads:
        thread.start()
    return threads


_ARMS: dict[str, Callable[[Addresses], Arm]] = {
    "hotset": Hotset,
    "redis_stream": RedisStream,
    "postgres_queue": PostgresQueue,
}
