"""Old code on the new schema, and new code on the old one: what each finds, one revision apart."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from importlib import resources

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql
from uuid_utils.compat import uuid7

import hotset
from auditor import conserved
from conftest import Addresses, _with_database
from hotset.errors import OutdatedTables
from hotset.jobs import State
from hotset.store import downgrade, erasure, make_engine, migrate, revisions
from hotset.store.migrate import _config
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
REVISIONS = [s.revision for s in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))]

#: (table, column) -> (type, whether an INSERT may leave it out)
Columns = dict[tuple[str, str], tuple[str, bool]]


@pytest.fixture(scope="module")
def bare(servers: Addresses) -> Iterator[str]:
    """The address of a database without anything in it."""
    name = f"hotset_test_upgrades_{uuid7().hex[-8:]}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield _with_database(servers.database_url, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def columns(connection: psycopg.Connection) -> Columns:
    query = (
        "SELECT table_name, column_name, data_type,"
        " is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES'"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name !~ '^audit_(default|[0-9])'"
    )
    return {(table, column): (kind, optional) for table, column, kind, optional in connection.execute(query)}


def functions(connection: psycopg.Connection) -> set[str]:
    query = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    return {row[0] for row in connection.execute(query)}


def test_each_migration_takes_nothing_from_the_code_before_it(bare: str) -> None:
    """No table, column or function of the revision before is gone or of another type, and what is new in a table that
    was there need not be given: statements that know nothing of it go on."""
    before: tuple[Columns, set[str]] = ({}, set())
    for revision in REVISIONS:
        migrate(bare, revision)
        with psycopg.connect(bare, autocommit=True) as connection:
            now = columns(connection), functions(connection)
        tables = {table for table, _ in before[0]}
        for where, (kind, _) in before[0].items():
            assert now[0].get(where, ("gone",))[0] == kind, (revision, where)
        for where, (_, optional) in now[0].items():
            assert optional or where in before[0] or where[0] not in tables, (revision, where, "old code cannot insert")
        assert before[1] <= now[1], (revision, before[1] - now[1])
        before = now


def test_new_code_works_on_the_tables_of_the_revision_before_until_somebody_migrates_them(stack: Stack) -> None:
    url = stack.env["HOTSET_DATABASE_URL"]
    downgrade(url, REVISIONS[-2])
    waiting, running = uuid7(), uuid7()
    with psycopg.connect(url, autocommit=True) as connection:
        # As the hotset before left them: one waits, one runs on a worker that has gone.
        for job, state, lease in ((waiting, "queued", None), (running, "running", "2020-01-01")):
            connection.execute(
                "WITH made AS (INSERT INTO jobs (id, tenant, agent, queue, state, attempt, prompt, body_hash,"
                " deadline_at, lease_until, worker)"
                " VALUES (%(id)s, 'default', %(agent)s, 'tinyllama', %(state)s, %(attempt)s, 'x',"
                " '\\x00', now(), %(lease)s, 'gone') RETURNING id)"
                " INSERT INTO audit (tenant, actor, action, job_id, attempt)"
                " SELECT 'default', 't', action, id, attempt FROM made,"
                " (VALUES ('accept', NULL), ('claim', 1)) AS said (action, attempt)"
                " WHERE action = 'accept' OR %(attempt)s > 0",
                {"id": job, "agent": LIGHT, "state": state, "lease": lease, "attempt": int(state == "running")},
            )
    stack.fleet().worker()
    client = stack.client()
    for job in (waiting, running):
        eventually(lambda job=job: client.job(job).status is State.SUCCEEDED, within_s=40, message=stack.log)
    assert f"lacks the migration {REVISIONS[-1]}" in stack.log()

    # All that the older tables know works, with what is committed by one statement and by several.
    done = client.submit(LIGHT, "one", idempotency_key="once")
    assert done.result(timeout=60) and client.submit(LIGHT, "one", idempotency_key="once").id == done.id
    again = client.job(done.id).retry("once more")
    flow = client.submit(hotset.chain(hotset.step(LIGHT, "a"), hotset.step(LIGHT, "{prev}")))
    late = client.submit(LIGHT, "later", not_before=3600)
    assert late.cancel() and late.status is State.CANCELLED
    assert again.result(timeout=60) and flow.result(timeout=60)
    engine = make_engine(url, application="test")
    assert erasure.erase(engine, tenant="default", ids=[done.id], actor="test", reason=None) == 1
    engine.dispose()

    # What they do not know is refused, in words, and nothing is accepted with a part of it left out.
    jobs = len(list(client.jobs()))
    for refused in (
        lambda: client.submit(LIGHT, "x", send_to="qa-team-lead"),
        lambda: client.send("qa-team-lead", {"a": 1}, from_=LIGHT),
    ):
        with pytest.raises(OutdatedTables, match=f"revision {REVISIONS[-2]}.*hotset migrate"):
            refused()
    assert len(list(client.jobs())) == jobs
    assert stack.log().count("is tried again") == 0 and "Upkeep (remove_old_messages) waits" in stack.log()

    # Migrated beneath workers and clients that go on.
    migrate(url)
    sent: list[hotset.Job] = []

    def accepted() -> bool:
        with contextlib.suppress(OutdatedTables):
            sent.append(client.submit(LIGHT, "x", send_to="qa-team-lead"))
        return bool(sent)

    eventually(accepted, within_s=5)
    assert sent[0].result(timeout=60)
    assert [message.job for message in client.inbox("qa-team-lead", timeout=10)] == [sent[0].id]
    conserved(url)


def test_a_worker_refuses_tables_that_are_two_revisions_older(stack: Stack) -> None:
    downgrade(stack.env["HOTSET_DATABASE_URL"], REVISIONS[-3])
    worker = stack.fleet().worker()
    try:
        assert worker.wait(timeout=60) != 0
    except subprocess.TimeoutExpired:
        pytest.fail(stack.log())
    stack.workers.remove(worker)
    assert f"lacks the migration {', '.join(REVISIONS[-2:])}" in stack.log() and "hotset migrate" in stack.log()


def test_every_mark_names_a_revision_that_there_is(bare: str) -> None:
    """And the newest that one names is what statements are fitted to."""
    marks = {
        mark
        for file in resources.files("hotset").rglob("*.sql")  # type: ignore[attr-defined]
        for mark in re.findall(r"/\*since (\w+)\*/", file.read_text())
    }
    assert marks <= set(REVISIONS) and max(marks) == revisions.NEEDED == REVISIONS[-1]


def test_tables_of_a_newer_hotset_are_worked_on_with_a_warning(stack: Stack) -> None:
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("ALTER TABLE jobs ADD COLUMN of_tomorrow boolean NOT NULL DEFAULT false")
    stack.fleet().worker()
    assert stack.client().submit(LIGHT, "x").result(timeout=60)
    assert "a newer hotset" in stack.log()
