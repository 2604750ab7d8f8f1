"""Row-level security: what another tenant, or an agent without a grant, cannot see or do, whatever SQL it finds."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import memory_keys
from hotset import Client
from hotset.client.memory import Scope
from hotset.errors import MemoryForbidden, UnknownMemory
from hotset.memory import As
from hotset.memory.session import ROLE, opened
from hotset.store import make_engine
from memory_attacks import MARK, TABLES, foreign_rows
from memory_summaries import claimed, finish, tell

INTRUDERS = (As("intruder"), As("acme' OR true --"), As("acme", agent="stranger"), As(""))


def fill(client: Client) -> None:
    """Two scopes of the tenant with warm and cold memories, their summaries and keys, a grant to somebody else, a
    handoff."""
    for scope in (f"project:{MARK}", f"agent:{MARK}"):
        memory = client.memory(scope)
        memory.remember(f"The code of the {MARK} safe is 1234.", tags=(MARK,))
        client.demote()
        memory.remember(f"The {MARK} garden is behind the house.", tags=(MARK,))
        tell(memory, 0, 5, f"{MARK} ")
    assert client.summarise() == 2
    finish(client, claimed(client)[:1])
    assert client.summarise() == 1, "of one the answer is kept, the other one waits"
    assert client.extract_keys() == 2
    memory_keys.finish(client, memory_keys.claimed(client)[:1], lambda number, _: f"{number} | {MARK} | {MARK}")
    assert client.extract_keys() == 1, "of one the answer is kept, the other one waits"
    client.grant(f"project:{MARK}", f"{MARK}-agent")
    client.handoff(from_=f"{MARK}-a", to=f"{MARK}-b", scope=f"project:{MARK}", summary=f"{MARK} summary")


def everything(database: str) -> dict[str, list[str]]:
    with psycopg.connect(database) as connection:
        return {
            table: sorted(row for (row,) in connection.execute(f"SELECT t::text FROM {table} t"))  # type: ignore[call-overload]
            for table in TABLES
        }


def test_statements_of_an_intruder_show_and_change_nothing(client: Client, engine: Engine, database: str) -> None:
    """`tests/chaos/test_memory_isolation.py` runs many more."""
    fill(client)
    before = everything(database)
    assert foreign_rows(engine, INTRUDERS, 400) == []
    assert everything(database) == before


def test_neither_do_searches_and_the_other_calls(client: Client) -> None:
    fill(client)
    (secret,) = {m.id for m in client.memory(f"project:{MARK}").search("What is the code of the safe?", 1)}
    with Client(settings=client.settings, tenant="intruder") as other:
        for stranger in (client.memory(f"project:{MARK}", agent="stranger"), other.memory(f"project:{MARK}")):
            assert stranger.search("What is the code of the safe?", also=[f"agent:{MARK}"], threshold=0.0) == []
            assert stranger.history("the code of the safe") == []
            for call in (stranger.get, stranger.forget, stranger.history):
                with pytest.raises(UnknownMemory):
                    call(secret)
    assert client.memory(f"project:{MARK}").get(secret)


def test_the_database_enforces_it_upon_everybody(client: Client, database: str) -> None:
    with psycopg.connect(database) as connection:
        forced = connection.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND NOT (relrowsecurity AND relforcerowsecurity)",
            [[*TABLES]],
        ).fetchall()
        assert forced == []
        role = "SELECT rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole FROM pg_roles WHERE rolname = %s"
        assert connection.execute(role, [ROLE]).fetchone() == (False,)
        owned = "SELECT count(*) FROM pg_class WHERE relowner = %s::regrole"
        assert connection.execute(owned, [ROLE]).fetchone() == (0,)
        rights = (
            "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
            " FROM information_schema.table_privileges WHERE grantee = %s GROUP BY 1"
        )
        whole = dict.fromkeys(TABLES, "DELETE INSERT SELECT UPDATE")
        assert dict(connection.execute(rights, [ROLE]).fetchall()) == {
            **whole,
            "memory_tenants": "INSERT",
            "audit": "INSERT",
        }


def test_its_tables_owner_sees_nothing_without_a_tenant(client: Client, database: str) -> None:
    fill(client)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE ROLE hotset_test_owner NOSUPERUSER")
        for table in (*TABLES, "memory_tenants"):
            connection.execute(f"ALTER TABLE {table} OWNER TO hotset_test_owner")  # type: ignore[call-overload]
        connection.execute("SET LOCAL ROLE hotset_test_owner")
        for table in TABLES:
            rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[call-overload]
            assert rows == (0,)
        connection.rollback()


@pytest.mark.parametrize("ending", ["commits", "fails in Postgres", "fails outside", "is refused"])
def test_a_pooled_connection_is_nobodys_after_a_transaction_that(ending: str, client: Client, database: str) -> None:
    client.memory().remember(f"The {MARK} bell rings at nine.")
    engine = make_engine(database, application="test", pool_size=1)

    def spoil() -> None:
        with opened(engine, As("acme", agent="somebody")) as session:
            assert session.connection.exec_driver_sql("SELECT current_user").scalar_one() == ROLE
            # As code that was talked into it would: for the session, not for the transaction.
            session.connection.exec_driver_sql(f"SET ROLE {ROLE}" if ending != "commits" else "SELECT 1")
            if ending == "fails in Postgres":
                session.connection.exec_driver_sql("SELECT 1 / 0")
            if ending == "fails outside":
                raise ValueError("outside")
            if ending == "is refused":
                session.connection.exec_driver_sql("INSERT INTO memory_scopes (tenant, scope) VALUES ('x', 'tenant')")

    try:
        if ending == "commits":
            spoil()
        else:
            with pytest.raises((DBAPIError, ValueError, MemoryForbidden)):
                spoil()
        with engine.connect() as connection:
            now = connection.exec_driver_sql(
                "SELECT current_user = session_user, coalesce(current_setting('hotset.tenant', true), ''),"
                " coalesce(current_setting('hotset.agent', true), '')"
            ).one()
        assert tuple(now) == (True, "", "")
        with opened(engine, As("intruder")) as session:
            assert session.rows("stats", {"tenant": "acme"}) == []
    finally:
        engine.dispose()


def test_an_agent_gives_itself_nothing_and_removes_no_scope(client: Client, engine: Engine, database: str) -> None:
    fill(client)
    before = everything(database)
    for who in (As("acme", agent="stranger"), As("acme", agent=f"{MARK}-agent")):
        with opened(engine, who) as session:
            for change in ("DELETE FROM memory_scopes", "DELETE FROM memory_grants", "DELETE FROM memory_handoffs"):
                assert session.connection.exec_driver_sql(change).rowcount == 0
        grant = f"INSERT INTO memory_grants VALUES ('acme', 'project:{MARK}', '{who.agent}', true, now(), 'me')"
        handoff = f"""INSERT INTO memory_handoffs (id, tenant, scope, from_agent, to_agent, summary)
            VALUES (gen_random_uuid(), 'acme', 'project:{MARK}', '{MARK}-a', '{who.agent}', 'do as I say')"""
        for planted in (grant, handoff):
            with pytest.raises(MemoryForbidden), opened(engine, who) as session:
                session.connection.exec_driver_sql(planted)
    assert everything(database) == before


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
