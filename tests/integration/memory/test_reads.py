"""What a search reads grows with its scope, not with the tenant, also while nothing is known of the tables' sizes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Row, event

from hotset import Client
from hotset.errors import StoreUnavailable
from hotset.memory import As, searching
from hotset.memory.records import Wanted
from hotset.memory.session import Session, opened, sql
from hotset.turns import Turns


class Explaining(Session):
    """Keeps what Postgres did for each statement."""

    plans: dict[str, dict[str, Any]]

    def rows(self, name: str, parameters: Mapping[str, Any]) -> list[Row[Any]]:
        self._explain(name, parameters)
        return super().rows(name, parameters)

    def fetch(self, name: str, parameters: Mapping[str, Any]) -> list[Any]:
        self._explain(name, parameters)
        return super().fetch(name, parameters)

    def _explain(self, name: str, parameters: Mapping[str, Any]) -> None:
        asked = "EXPLAIN (ANALYZE, FORMAT JSON) " + sql(name)
        self.plans[name] = self.connection.exec_driver_sql(asked, dict(parameters)).scalar_one()[0]["Plan"]


def reads(plan: Mapping[str, Any]) -> Iterator[float]:
    """Rows that each node took from the table of memories, with those that it put aside."""
    if plan.get("Relation Name") == "memories":
        yield plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    for part in plan.get("Plans", ()):
        yield from reads(part)


def test_a_search_reads_its_own_scope_and_no_other(client: Client) -> None:
    client.memory("project:other").remember_many(f"Order {i} of Globex is paid." for i in range(600))
    client.memory("project:own").remember_many(f"Order {i} of Initech is paid." for i in range(40))
    wanted = Wanted(query="Is order 7 of Initech paid?", scopes=("project:own",), k=5)
    question = searching.understood(wanted, frozenset())
    (meaning,), (prop,) = client._memory_room().embedder.embed([wanted.query])
    with opened(client.engine, As("acme")) as session:
        explaining = Explaining(session.connection, session.who)
        explaining.plans = {}
        assert searching.find(explaining, wanted, question, (meaning, prop), searching.Sizes())
    # Once all of the scope, then those that may answer one by one.
    assert sum(reads(explaining.plans["scan"])) == 40, explaining.plans
    assert 0 < sum(reads(explaining.plans["looked_at"])) <= 40, explaining.plans


def test_no_table_is_read_as_a_whole_where_plans_are_kept(client: Client, database: str) -> None:
    """Also where one scope is all of the table: its plan would be kept for the others."""
    client.memory("project:own").remember_many(f"Order {i} of Initech is paid." for i in range(100))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE memories")
    wanted = Wanted(query="Is order 7 of Initech paid?", scopes=("project:own",))
    for plans_kept in (False, True):
        with opened(client.engine, As("acme"), plans_kept=plans_kept) as session:
            asked = {**searching.filters(session, wanted), "most": 1000}
            plan = session.connection.exec_driver_sql("EXPLAIN " + sql("count"), asked).all()
        assert any("Seq Scan on memories" in row[0] for row in plan) == (not plans_kept), plan


def test_where_many_fit_every_search_uses_the_index(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the fifth, when Postgres may keep one plan for all scopes, and with few rows a comparison of all."""
    monkeypatch.setattr(searching, "EXACT_ROWS", 0)
    memory = client.memory("project:own")
    memory.remember_many(f"Order {i} of Initech is paid." for i in range(40))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE memories")
        for i in range(12):
            assert memory.search(f"Is order {i} of Initech paid?")
        with client.engine.connect() as own:
            own.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        scans = "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'memories_vectors'"
        assert connection.execute(scans).fetchall()[0][0] >= 12


def test_searches_that_come_at_once_open_no_connection_that_the_pool_does_not_keep(client: Client) -> None:
    """One beyond these is made for a search and closed after it."""
    memory, opened_by_pool, many = client.memory("project:own"), [], 24
    memory.remember_many(f"Order {i} of Initech is paid." for i in range(40))
    memory.search("Is order 7 of Initech paid?")
    event.listen(client.engine, "connect", lambda *made: opened_by_pool.append(made))
    together = threading.Barrier(many)

    def search(number: int) -> int:
        together.wait(60)
        return sum(len(memory.search(f"Is order {number} of Initech paid?")) for _ in range(4))

    with ThreadPoolExecutor(many) as pool:
        assert all(pool.map(search, range(many)))
    assert len(opened_by_pool) < client.engine.pool.size()  # type: ignore[attr-defined]


def test_a_search_that_gets_no_turn_says_so_and_the_next_one_answers(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, room = client.memory("project:own"), client._memory_room()
    memory.remember("Order 7 of Initech is paid.")
    monkeypatch.setattr(room, "_turns", Turns(1, wait_s=0.01))
    with room._turns.turn(), pytest.raises(StoreUnavailable, match="behind others"):
        memory.search("Is order 7 of Initech paid?")
    assert memory.search("Is order 7 of Initech paid?")


def test_a_connection_that_is_lost_within_a_search_is_told_as_ever(client: Client, database: str) -> None:
    wanted = Wanted(query="x", scopes=("project:own",))
    with pytest.raises(StoreUnavailable), opened(client.engine, As("acme")) as session:
        pid = session.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        session.fetch("count", {**searching.filters(session, wanted), "most": 1})
    assert client.memory("project:own").search("Is order 7 of Initech paid?") == []
