"""What is forgotten, erased or too old leaves no trace."""

from __future__ import annotations

import traceback
from dataclasses import replace

import psycopg
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from hotset import Client
from hotset.client.memory import Scope
from hotset.embedder import CachedEmbedder, shared_embedder
from hotset.errors import Unavailable, UnknownMemory
from hotset.memory import As, upkeep
from hotset.memory.room import MemoryRoom
from hotset.memory.tiers import Hot
from hotset.settings import Settings

SECRET = "zxq secret"


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


def test_without_the_cache_everything_but_forgetting_works(settings: Settings) -> None:
    with Client(settings=replace(settings, cache_url=SecretStr("redis://127.0.0.1:1/0"))) as client:
        made = client.memory().remember("Acme pays in advance.")
        client.demote()
        assert client.memory().search("How does Acme pay?")[0].id == made
        with pytest.raises(Unavailable):
            client.memory().forget(made)
        assert client.memory().get(made).text == "Acme pays in advance."


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


def test_a_text_that_was_cut_by_meaning_leaves_no_vectors_of_its_sentences(settings: Settings, cache_url: str) -> None:
    text = " ".join(f"Paragraph {i} of the Zeppelin manual explains valve {i} in some detail." for i in range(60))
    with Client(settings=replace(settings, memory_chunking="semantic"), tenant="acme") as client:
        memory = client.memory("project:shop")
        assert memory.forget(memory.remember(text)) > 3
    with redis.Redis.from_url(cache_url) as cache:
        assert list(cache.scan_iter("hs:vec*")) == []


def test_a_tenant_is_erased_from_every_tier_and_its_neighbour_stays(
    client: Client, settings: Settings, cache_url: str, database: str
) -> None:
    with Client(settings=settings, tenant="globex") as neighbour:
        kept = neighbour.memory("project:shop").remember("The zxq garden is behind the house.")
        for scope in ("project:shop", "agent:qa-team-lead"):
            for i in range(3):
                client.memory(scope).remember(f"The code of zxq safe {i} is {i}.")
                client.demote()
        client.memory().remember("The zxq bell rings at nine.")
        client.handoff(from_="a", to="b", scope="project:shop", summary="zxq summary")
        client.memory().search("What is the code of zxq safe 1?", also=["project:shop"], threshold=0.0)
        with psycopg.connect(database, autocommit=True) as connection:  # one of them cannot even be read
            connection.execute(
                "UPDATE memory_segments SET body = body || 'x'::bytea"
                " WHERE id = (SELECT min(id::text)::uuid FROM memory_segments WHERE tenant = 'acme')"
            )
        cache = redis.Redis.from_url(cache_url)
        assert MemoryRoom(client.engine, cache).erase(As("acme", actor="test"), "they left us") == 7
        assert MemoryRoom(client.engine, cache).erase(As("acme")) == 0
        assert neighbour.memory("project:shop").get(kept).text == "The zxq garden is behind the house."
        assert sum(key.startswith(b"hs:mem:") for key in cache.scan_iter()) == 0
        cache.close()
    with psycopg.connect(database) as connection:
        for table in (
            "memories",
            "memory_terms",
            "memory_segments",
            "memory_scopes",
            "memory_grants",
            "memory_handoffs",
        ):
            left = f"SELECT count(*) FROM {table} WHERE tenant = 'acme'"
            assert connection.execute(left).fetchone() == (0,), table  # type: ignore[call-overload]
        said = connection.execute("SELECT actor, detail FROM audit WHERE action = 'memory-erased'").fetchall()
    assert said == [("test", {"memories": 7, "scopes": 3, "reason": "they left us"})]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("INSERT INTO memory_scopes (tenant, scope) VALUES ('acme', %s)", id="a row that is refused"),
        pytest.param("SELECT nobody_made_this(%s)", id="a statement that is wrong"),
        pytest.param("INSERT INTO memory_tenants (tenant) VALUES (%s), ('acme'), ('acme')", id="a row that is there"),
    ],
)
def test_no_error_of_the_database_shows_what_was_said(client: Client, statement: str) -> None:
    """Neither the parameters nor the row that Postgres cites: errors end in logs."""
    with pytest.raises(DBAPIError) as raised, client.engine.connect() as connection:
        connection.exec_driver_sql(statement, (SECRET,))
    shown = "".join(traceback.format_exception(raised.value))
    assert "zxq" not in shown and "psycopg.errors" in shown
