"""Processes and Postgres killed in the middle: nothing is lost, nothing is there twice, the answers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hotset import Client
from hotset.cli.stage import BreakableServer
from hotset.embedded.postgres import Postgres
from hotset.errors import Unavailable
from hotset.memory.setup import set_up
from hotset.settings import load_settings
from hotset.store import migrate
from memory_kills import kill_again_and_again
from stack import eventually

CITIES = ("Porto", "Lyon", "Oslo", "Graz", "Bergen", "Turin", "Malmo", "Gdansk", "Bilbao", "Brno")
ASKED = [f"Where is customer K-{i} based?" for i in range(20)]


def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_there_twice(client: Client) -> None:
    """`tests/chaos/test_memory_kills.py` kills a hundred times."""
    assert kill_again_and_again(client, 40, 2)["faults"] == []


@pytest.fixture
def own_postgres(server_home: Path) -> Iterator[BreakableServer]:
    """As users have it, with commits that wait for the disk: this one is killed."""
    postgres = Postgres(server_home / "postgres")
    server = BreakableServer(postgres)
    try:
        server.start()
        migrate(server.url)
        set_up(server.url)
        yield server
    finally:
        postgres.stop()


def answers(client: Client) -> list[list[tuple[str, str, float]]]:
    found = [client.memory("project:shop").search(question, 5, threshold=0.0) for question in ASKED]
    assert all(len(one) == 5 for one in found)
    return [[(str(m.id), m.text, m.score) for m in one] for one in found]


def answers_again(client: Client) -> bool:
    try:
        return bool(client.memory_stats())
    except Unavailable:
        return False


def test_the_same_five_answers_whatever_was_lost_or_killed(
    own_postgres: BreakableServer, cache_url: str, broker_url: str
) -> None:
    settings = load_settings({}, database_url=own_postgres.url, cache_url=cache_url, broker_url=broker_url)
    with Client(settings=settings, tenant="acme") as client:
        memory = client.memory("project:shop")
        for i in range(20):
            memory.remember(f"Customer K-{i} is based in {CITIES[i % 10]}.")
            if i % 3 == 0:
                memory.remember(f"Customer K-{i} has moved to {CITIES[(i + 3) % 10]}.")
        before = answers(client)
        assert client.demote() == 27
        assert answers(client) == before, "from the segments"
        client.demote()
        with redis.Redis.from_url(cache_url) as cache:
            cache.flushdb()
        assert answers(client) == before, "with the cache flushed"
        client.demote()
        own_postgres.kill()
        own_postgres.start()
        eventually(lambda: answers_again(client), within_s=60)
        assert answers(client) == before, "after a kill -9 of Postgres"
        client.demote()
        assert [d.faults for d in client.memory_check() if d.faults] == []
        client.memory_restore()
        assert client.memory_stats()["segments"] == []
        assert answers(client) == before, "restored from the segments"
