"""The same answers from every tier; what is damaged is found."""

from __future__ import annotations

import psycopg
import redis

from hotset import Client
from hotset.client.memory import Scope


def test_answers_are_the_same_from_every_tier(client: Client, memory: Scope, cache_url: str) -> None:
    for i, city in enumerate(("Porto", "Lyon", "Oslo", "Graz", "Bergen", "Turin", "Malmo")):
        memory.remember(f"Customer K-{i} is based in {city}.")
    asked = [f"Where is customer K-{i} based?" for i in range(7)]
    before = [[(m.id, m.text, m.score) for m in memory.search(q)] for q in asked]
    assert client.demote() == 7
    assert {m.tier for m in memory.search(asked[0])} == {"cold"}
    assert [[(m.id, m.text, m.score) for m in memory.search(q)] for q in asked] == before
    client.demote()
    with redis.Redis.from_url(cache_url) as cache:
        cache.flushdb()
    assert [[(m.id, m.text, m.score) for m in memory.search(q)] for q in asked] == before
    client.demote()
    assert [d.faults for d in client.memory_check()] == [()] * len(client.memory_check())
    client.memory_restore()
    assert client.memory_stats()["segments"] == []
    assert {m.tier for m in memory.search(asked[0])} == {"warm"}


def test_a_second_use_makes_warm_again(client: Client, memory: Scope) -> None:
    made = memory.remember("Acme pays in advance.")
    client.demote()
    assert [memory.search("How does Acme pay?")[0].tier for _ in range(3)] == ["cold", "hot", "warm"]
    assert memory.get(made).text == "Acme pays in advance."


def test_a_damaged_segment_is_found(client: Client, memory: Scope, database: str) -> None:
    memory.remember("Acme pays in advance.")
    client.demote()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE memory_segments SET body = body || 'x'::bytea")
    assert client.memory_check()[0].faults
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM audit WHERE action = 'memory-drill'").fetchone() == (1,)
