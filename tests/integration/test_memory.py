"""Memory on a real Postgres and a real cache: what is true now, what was, who may see it, and what is left of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis
from sqlalchemy import Engine

from hotset import Client
from hotset.client.memory import Scope
from hotset.embedder import CachedEmbedder, shared_embedder
from hotset.errors import InvalidMemory, MemoryForbidden, Unavailable, UnknownMemory
from hotset.memory import As, upkeep
from hotset.memory.session import opened
from hotset.memory.tiers import Hot
from hotset.settings import load_settings
from hotset.store import downgrade, migrate

PAST = datetime(2026, 1, 1, tzinfo=UTC)
CRASHER = Path(__file__).with_name("memory_crasher.py")


@pytest.fixture
def client(database: str, cache_url: str, broker_url: str) -> Iterator[Client]:
    urls = {"database_url": database, "cache_url": cache_url, "broker_url": broker_url}
    with Client(settings=load_settings({}, **urls), tenant="acme") as made:
        yield made


@pytest.fixture
def memory(client: Client) -> Scope:
    return client.memory("project:shop")


def texts(found: list) -> list[str]:
    return [m.text for m in found]


def test_the_newest_version_comes_first_and_the_old_one_is_over(memory: Scope) -> None:
    old = memory.remember("Acme's refund window is 14 days.", at=PAST)
    new = memory.remember("Acme's refund window is now 30 days.", at=PAST + timedelta(days=9))
    memory.remember("Acme's office is in Lyon.", at=PAST + timedelta(days=10))
    found = memory.search("How long is Acme's refund window?")
    assert found[0].id == new
    assert found[0].supersedes == old
    assert memory.get(old).valid_to == PAST + timedelta(days=9)
    assert memory.search("Acme refund window?", as_of=PAST + timedelta(days=1))[0].id == old
    assert [m.id for m in memory.history("refund window of Acme")] == [old, new]


def test_a_sentence_that_comes_late_is_put_where_it_belongs(memory: Scope) -> None:
    first = memory.remember("Maria lives in Porto.", at=PAST)
    last = memory.remember("Maria has moved to Oslo.", at=PAST + timedelta(days=20))
    between = memory.remember("Maria has moved to Lyon.", at=PAST + timedelta(days=10))
    assert memory.search("Where does Maria live?")[0].id == last
    assert memory.search("Where does Maria live?", as_of=PAST + timedelta(days=15))[0].id == between
    assert memory.search("Where does Maria live?", as_of=PAST + timedelta(days=5))[0].id == first


def test_nothing_relevant_gives_nothing(memory: Scope) -> None:
    memory.remember("Acme's refund window is 14 days.")
    assert memory.search("Who won the football match in Rome?") == []
    assert len(memory.search("Who won the football match in Rome?", threshold=0.0)) == 1


def test_filters_and_limits(memory: Scope) -> None:
    memory.remember("Acme likes blue boxes.", tags=("style",), said_by="assistant", at=PAST)
    memory.remember("Acme likes red boxes.", at=PAST + timedelta(days=5))
    ask = "What boxes does Acme like?"
    assert texts(memory.search(ask, tags=("style",))) == ["Acme likes blue boxes."]
    assert texts(memory.search(ask, said_by="user")) == ["Acme likes red boxes."]
    assert texts(memory.search(ask, until=PAST + timedelta(days=1))) == ["Acme likes blue boxes."]
    assert texts(memory.search(ask, texts=False)) == ["", ""]
    for call in (
        lambda: memory.remember(""),
        lambda: memory.remember("x" * 20_001),
        lambda: memory.remember("x", importance=2),
        lambda: memory.search("x", k=0),
        lambda: memory.search("x", as_of=datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda: memory.forget("nothing"),
        lambda: memory.client.memory("nowhere"),
    ):
        with pytest.raises(InvalidMemory):
            call()


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


def test_of_what_is_forgotten_nothing_is_left(client: Client, memory: Scope, cache_url: str, database: str) -> None:
    ids = [memory.remember(f"The code of safe {i} is zxq{i}secret.") for i in range(6)]
    kept = memory.remember("The garden is behind the house.")
    client.demote()
    memory.search("What is the code of safe 3?")
    assert memory.forget(ids) == 6
    with psycopg.connect(database) as connection:
        for table in ("memories", "memory_terms", "memory_segments", "memory_proposals", "audit"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()  # type: ignore[call-overload]
            assert not [r for (r,) in rows if "zxq" in r]
    with redis.Redis.from_url(cache_url) as cache:
        assert not [k for k in cache.scan_iter("hs:mem:*") if any(str(i).encode() in k for i in ids)]
        assert not [k for k in cache.scan_iter("hs:mem:*") if b"zxq" in (cache.get(k) or b"")]
    assert memory.get(kept).text == "The garden is behind the house."
    assert [d.faults for d in client.memory_check()] == [()]
    with pytest.raises(UnknownMemory):
        memory.forget(ids[0])


def test_forgetting_a_change_makes_the_old_value_true_again(memory: Scope) -> None:
    memory.remember("Acme's refund window is 14 days.")
    new = memory.remember("Acme's refund window is 30 days.")
    memory.forget(new)
    assert [(m.text, m.valid_to) for m in memory.search("Acme's refund window?")] == [
        ("Acme's refund window is 14 days.", None)
    ]


def test_without_the_cache_everything_but_forgetting_works(database: str, broker_url: str) -> None:
    urls = {"database_url": database, "cache_url": "redis://127.0.0.1:1/0", "broker_url": broker_url}
    with Client(settings=load_settings({}, **urls)) as client:
        made = client.memory().remember("Acme pays in advance.")
        client.demote()
        assert client.memory().search("How does Acme pay?")[0].id == made
        with pytest.raises(Unavailable):
            client.memory().forget(made)
        assert client.memory().get(made).text == "Acme pays in advance."


def test_other_tenants_and_agents_without_a_grant_see_nothing(client: Client, memory: Scope, engine: Engine) -> None:
    memory.remember("Acme's refund window is 14 days.")
    intruders = (As("evil"), As("evil' OR true --"), As("acme", agent="stranger"), As(""))
    tables = ("memories", "memory_terms", "memory_segments", "memory_proposals")
    tricks = ("true", "tenant = 'acme'", "scope LIKE '%%'", "tenant <> '' OR true")
    for who in intruders:
        with opened(engine, who) as session:
            for table in tables:
                for trick in tricks:
                    query = f"SELECT count(*) FROM {table} WHERE {trick}"
                    assert session.connection.exec_driver_sql(query).scalar_one() == 0
            for change in ("UPDATE memories SET importance = 1", "DELETE FROM memories", "DELETE FROM memory_terms"):
                assert session.connection.exec_driver_sql(change).rowcount == 0
    with pytest.raises(MemoryForbidden), opened(engine, As("evil")) as session:
        session.connection.exec_driver_sql(
            "INSERT INTO memory_scopes (tenant, scope) VALUES ('acme', 'project:planted')"
        )
    assert len(memory.search("Acme's refund window?")) == 1


def test_grants_are_for_reading_or_writing_and_end(client: Client, memory: Scope) -> None:
    memory.remember("Acme's refund window is 14 days.")
    theirs = client.memory("project:shop", agent="qa-team-lead")
    assert theirs.search("Acme's refund window?") == []
    client.grant("project:shop", "qa-team-lead")
    assert len(theirs.search("Acme's refund window?")) == 1
    with pytest.raises(MemoryForbidden):
        theirs.remember("Acme's refund window is 99 days.")
    client.grant("project:shop", "qa-team-lead", write=True)
    theirs.remember("Acme's refund window is 30 days.")
    assert memory.search("Acme's refund window?")[0].text.endswith("30 days.")
    assert client.revoke("project:shop", "qa-team-lead")
    assert theirs.search("Acme's refund window?") == []


def test_a_handoff_passes_the_scope_with_its_summary(client: Client, memory: Scope) -> None:
    memory.remember("Acme's refund window is 14 days.")
    client.handoff(
        from_="system-architect", to="qa-team-lead", scope="project:shop", summary="Refunds are settled.",
        limits={"tokens": 500}, output_format="markdown",
    )  # fmt: skip
    (got,) = client.handoffs("qa-team-lead")
    assert (got.summary, got.limits, got.output_format) == ("Refunds are settled.", {"tokens": 500}, "markdown")
    assert len(client.memory("project:shop", agent="qa-team-lead").search("Acme's refund window?")) == 1


def test_consolidation_finds_changes_merges_copies_and_only_proposes_near_ones(client: Client, memory: Scope) -> None:
    days = [PAST + timedelta(days=i) for i in range(5)]
    rows = [
        {"text": "Acme's refund window is 14 days.", "at": days[0], "tags": ("a",)},
        {"text": "Acme's refund window is 14 days.", "at": days[1], "tags": ("b",)},
        {"text": "Acme's refund window is 30 days now.", "at": days[2]},
        {"text": "Globex ships only to Norway and Sweden.", "at": days[3]},
        {"text": "Globex ships only to Norway and to Sweden.", "at": days[4]},
    ]
    memory.remember_many(rows)
    done = client.consolidate()
    assert (done.settled, done.merged) == (5, 1)
    assert memory.search("Acme's refund window?")[0].text.endswith("30 days now.")
    versions = memory.history("refund window of Acme")
    assert (versions[0].text, versions[0].tags) == ("Acme's refund window is 14 days.", ("a", "b"))
    assert {m.ring for m in versions} == {"core"}
    assert len(memory.search("Where does Globex ship to?")) >= 2
    assert client.consolidate().settled == 0


def test_age_takes_what_is_neither_important_nor_pinned(client: Client, memory: Scope, database: str) -> None:
    memory.remember("Lunch was late today.")
    memory.remember("We must never ship on Fridays!", importance=0.9)
    memory.remember("Remember the anniversary.", pinned=True)
    memory.remember("The door code expires soon.", ttl=3600, importance=1.0)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "UPDATE memories SET recorded_at = recorded_at - interval '8 days',"
            " used_at = used_at - interval '8 days', expires_at = expires_at - interval '1 day'"
        )
    embedder = CachedEmbedder(shared_embedder(), None)
    assert upkeep.clean(client.engine, As("acme"), embedder, Hot(None), keep_days=7) == 2
    assert client.memory_stats()["memories"][0]["memories"] == 2


def test_a_long_text_is_kept_in_parts_and_forgotten_as_a_whole(client: Client, memory: Scope) -> None:
    text = " ".join(f"Paragraph {i} of the Zeppelin manual explains valve {i} in some detail." for i in range(60))
    made = memory.remember(text)
    parts = client.memory_stats()["memories"][0]["memories"]
    assert parts > 3
    assert memory.forget(made) == parts


def test_recall_puts_what_is_known_before_the_prompt(client: Client) -> None:
    client.memory("agent:qa-team-lead").remember("Acme's refund window is 14 days.")
    prompt = client.recall("qa-team-lead", "What is Acme's refund window?", 5)
    assert prompt.startswith("What is remembered:\n- Acme's refund window is 14 days.")
    assert prompt.endswith("\n\nWhat is Acme's refund window?")
    assert client.recall("qa-team-lead", "Sing a song about trains.", 5) == "Sing a song about trains."


def test_migration_down_and_up_again(database: str) -> None:
    downgrade(database, "0008")
    migrate(database)


def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_there_twice(client: Client, memory: Scope) -> None:
    rows = [
        {"text": f"Shelf {i % 40} holds the box number {i // 40}.", "at": PAST + timedelta(hours=i)} for i in range(160)
    ]
    memory.remember_many(rows)
    stored = {m["memories"] for m in client.memory_stats()["memories"]}
    assert stored == {160}
    for _ in range(3):
        kill_one(client)
    client.memory_restore()
    client.consolidate()
    client.demote()
    assert all(d.faults == () for d in client.memory_check())
    counted = sum(m["memories"] for m in client.memory_stats()["memories"])
    assert counted == sum(s["entries"] for s in client.memory_stats()["segments"]) == 160


def kill_one(client: Client) -> None:
    """A process that consolidates, demotes and restores without end, killed at some moment of it."""
    settings = client.settings
    env = {
        **os.environ,
        "HOTSET_DATABASE_URL": settings.database_url.get_secret_value(),
        "HOTSET_CACHE_URL": settings.cache_url.get_secret_value(),
    }
    with subprocess.Popen([sys.executable, str(CRASHER), client.tenant], stdout=subprocess.PIPE, env=env) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == {"ready": True}
        time.sleep(random.random() * 0.3)
        child.send_signal(signal.SIGKILL)


def test_ids_are_uuids(memory: Scope) -> None:
    assert isinstance(memory.remember("Acme pays in advance."), UUID)
