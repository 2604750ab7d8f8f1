"""Servers that are away for a while, or live and take no changes: what runs goes on, and nothing is blamed on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import redis
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset import Client
from hotset.broker import Lanes, make_app
from hotset.embedded.valkey import Valkey, free_port
from hotset.errors import BrokerUnavailable, StoreUnavailable
from hotset.jobs import Attempt, NewJob, Priority, Routing, State
from hotset.lab.faults.injuries import cut_connections
from hotset.settings import Settings
from hotset.store import JobStore, make_engine, upkeep
from hotset_worker.heartbeat import BrokerHeartbeat, Heartbeat
from hotset_worker.runs import ActiveRuns
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"


@pytest.fixture
def full_broker(server_home: Path) -> Iterator[str]:
    """Alive, and every change is answered with an error, as MISCONF is: it has no replica, and wants one."""
    with Valkey(server_home / "full", "broker", port=free_port()) as broker:
        with redis.Redis.from_url(broker.url) as client:
            client.config_set("min-replicas-to-write", 1)
        yield broker.url


def accepted(store: JobStore) -> UUID:
    job = NewJob(id=uuid7(), agent=LIGHT, queue="tinyllama", prompt="x")
    store.accept([job], actor="t")
    return job.id


def running(store: JobStore, lease_s: float) -> Attempt:
    attempt = store.claim(accepted(store), worker="w", lease_s=lease_s)
    assert attempt is not None
    return attempt


def test_a_submit_is_accepted_and_the_relay_publishes_it_later(
    store: JobStore, database: str, full_broker: str, cache_url: str
) -> None:
    settings = Settings(
        database_url=SecretStr(database), broker_url=SecretStr(full_broker), cache_url=SecretStr(cache_url)
    )
    with Client(settings=settings) as client:
        job = client.submit(LIGHT, "x")
        assert job.status is State.QUEUED
        lanes = Lanes(full_broker)
        with pytest.raises(BrokerUnavailable, match="takes no changes now"):
            upkeep.relay(store.engine, lanes.publish, after_s=-1)
        lanes.redis.config_set("min-replicas-to-write", 0)
        assert upkeep.relay(store.engine, lanes.publish, after_s=-1) == 1
        assert lanes.lengths(["tinyllama"]) == {"tinyllama": 1}
        lanes.close()


def test_no_claim_and_no_renewal_raises_what_nobody_expects(full_broker: str) -> None:
    lanes = Lanes(full_broker)
    lanes.redis.config_set("min-replicas-to-write", 0)
    now = datetime.now(UTC)
    lanes.publish([Routing(uuid7(), LIGHT, "tinyllama", "default", Priority.NORMAL, now, now)])
    lanes.redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(BrokerUnavailable):
        lanes.claim("tinyllama", "normal", "oldest", "mine")
    with pytest.raises(BrokerUnavailable):
        lanes.renew(["mine"])
    lanes.redis.config_set("min-replicas-to-write", 0)
    assert lanes.claim("tinyllama", "normal", "oldest", "mine"), "the refused claim has taken nothing"
    lanes.close()


@contextlib.contextmanager
def beating(store: JobStore, lanes: Lanes, runs: ActiveRuns) -> Iterator[None]:
    """Both heartbeats, as a worker has them."""
    beats = [
        Heartbeat(store, runs, worker="w", every_s=0.1, lease_s=60),
        BrokerHeartbeat(lanes, runs, every_s=0.1),
    ]
    for beat in beats:
        beat.start()
    try:
        yield
    finally:
        for beat in beats:
            beat.stop()


def test_leases_in_the_database_are_renewed_while_the_broker_is_away(engine: Engine, store: JobStore) -> None:
    attempt = running(store, lease_s=0.5)
    lanes, runs = Lanes(f"redis://127.0.0.1:{free_port()}/0"), ActiveRuns()
    with runs.active(attempt, "claim") as run, beating(store, lanes, runs):
        time.sleep(0.6)
        assert upkeep.reap(engine, actor="u", max_crashes=3) == []
        assert run.ended is None and store.get([attempt.id])[attempt.id].state is State.RUNNING
    lanes.close()


def test_claims_in_the_broker_are_renewed_while_the_database_is_away(store: JobStore, broker_url: str) -> None:
    attempt = running(store, lease_s=60)
    lanes, runs = Lanes(broker_url), ActiveRuns()
    lanes.redis.zadd("hs:unacked:index", {"claim": 1})
    away = JobStore(make_engine("postgresql://nobody@/nothing?host=/nowhere", application="t"))
    with runs.active(attempt, "claim") as run, beating(away, lanes, runs):
        eventually(lambda: lanes.redis.zscore("hs:unacked:index", "claim") != 1, within_s=5)
        with pytest.raises(StoreUnavailable):
            Heartbeat(away, runs, worker="w", every_s=0.1, lease_s=60).beat()
        assert run.ended is None
    lanes.close()


def test_a_claim_whose_reply_was_lost_is_handed_back_and_counts_as_no_crash(store: JobStore, broker_url: str) -> None:
    attempt = running(store, lease_s=60)
    other = store.claim(accepted(store), worker="other", lease_s=60)
    assert other is not None
    lanes, runs = Lanes(broker_url), ActiveRuns()
    heartbeat = Heartbeat(store, runs, worker="w", every_s=0.1, lease_s=60)
    for known in (attempt, other):
        runs.note_unclear(known.id)
    with runs.active(attempt, "claim"):
        heartbeat.beat()
        assert store.get([attempt.id])[attempt.id].state is State.RUNNING, "it runs: the claim was answered after all"
        runs.note_unclear(attempt.id)
    heartbeat.beat()
    found = store.get([attempt.id, other.id])
    assert (found[attempt.id].state, found[attempt.id].crashes, found[attempt.id].suspect) == (State.QUEUED, 0, False)
    assert found[other.id].state is State.RUNNING, "another worker has it"
    assert runs.unclear() == set()
    lanes.close()


def test_a_worker_outlives_a_broker_that_takes_no_changes_while_it_connects_again(
    stack: Stack, server_home: Path
) -> None:
    """As when its disk is full: it greets who connects, and refuses whatever they then declare."""
    with Valkey(server_home / "full", "broker", port=free_port()) as broker, redis.Redis.from_url(broker.url) as admin:
        stack.env["HOTSET_BROKER_URL"] = broker.url
        worker = stack.fleet().worker()
        client = stack.client()
        assert client.submit(LIGHT, "before").result(timeout=60)
        admin.config_set("min-replicas-to-write", 1)
        cut_connections(broker.url)
        # Once for the cut; from then on it connects, is refused, and tries again.
        tried = "lost. Trying to re-establish"
        eventually(lambda: stack.log().count(tried) >= 4, within_s=30, message=stack.log)
        admin.config_set("min-replicas-to-write", 0)
        assert client.submit(LIGHT, "after").result(timeout=60)
        assert worker.poll() is None, stack.log()
        stack.kill(worker)


def test_who_lost_the_broker_looks_for_it_every_two_seconds_at_least() -> None:
    app = make_app(f"redis://127.0.0.1:{free_port()}/0", ["tinyllama"])
    pauses: list[float] = []
    with app.connection_for_read() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(lambda _, pause: pauses.append(pause), 3)
    assert pauses[0] < pauses[1] < pauses[-1] <= 2.0
