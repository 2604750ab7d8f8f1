"""deploy/postgres/roles.sql: with exactly these rights everything works, and what must not be done cannot be."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from auditor import conserved
from hotset import Client, chain, step
from hotset.cli import main
from hotset.jobs import State
from hotset.store import migrate
from memory_summaries import tell
from stack import Stack, eventually

ROLES = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"
NAMES = ("hotset_owner", "hotset_worker", "hotset_client", "hotset_operator")
LIGHT = "log-aggregator-loki"


def apply(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROLES.read_text())


@pytest.fixture(scope="module")
def addresses(module_database: str) -> Iterator[dict[str, str]]:
    """Role -> its address of the database; twice, since it may be run again."""
    apply(module_database)
    apply(module_database)
    url = make_url(module_database)
    yield {name: url.set(username=name).render_as_string(hide_password=False) for name in NAMES}
    with psycopg.connect(module_database, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)", [[*NAMES]])
        for name in NAMES:
            connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.fixture(scope="module")
def served(module_stack: Stack, addresses: dict[str, str]) -> Stack:
    """A worker with its role; nothing of the stack is anything else from here on."""
    module_stack.env |= {
        "HOTSET_DATABASE_URL": addresses["hotset_client"],
        "HOTSET_AUDIT_SEAL_S": "1",
        "HOTSET_LEASE_S": "3",
        "HOTSET_HEARTBEAT_S": "1",
        "HOTSET_RELAY_AFTER_S": "0.5",
    }
    module_stack.fleet().worker(HOTSET_DATABASE_URL=addresses["hotset_worker"])
    return module_stack


@pytest.fixture(scope="module")
def client(served: Stack) -> Client:
    return served.client()


@pytest.fixture
def hotset(served: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command line with that role's address, in this process: exit status, output, errors."""
    monkeypatch.chdir(served.folder)

    def run(role_url: str, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        status: Any = 0
        with monkeypatch.context() as patch:
            for name, value in ({k: v for k, v in served.env.items() if k.startswith("HOTSET_")}).items():
                patch.setenv(name, value)
            patch.setenv("HOTSET_DATABASE_URL", role_url)
            patch.setattr("sys.argv", ["hotset", *words])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as e:
                    status = e.code or 0
        return status, out.getvalue(), err.getvalue()

    return run


def test_a_client_submits_waits_cancels_and_retries_and_a_worker_does_the_rest(
    served: Stack, client: Client, addresses: dict[str, str]
) -> None:
    done = client.submit(LIGHT, "x", idempotency_key="k")
    assert done.result(timeout=60).text and client.submit(LIGHT, "x", idempotency_key="k").id == done.id
    flow = client.submit(chain(step(LIGHT, "a"), step(LIGHT, "b {prev}")))
    assert flow.result(timeout=60)
    failing = client.submit(chain(step(LIGHT, "a", options={"hotset_fault": "cut"}, max_retries=0), step(LIGHT, "b")))
    eventually(lambda: all(job.status is State.FAILED for job in failing.jobs), within_s=30, message=served.log)
    assert failing.retry()
    later = client.submit(LIGHT, "later", not_before="1h")
    later.cancel("no more")
    waits = client.submit(chain(step(LIGHT, "a", not_before="1h"), step(LIGHT, "b")))
    waits.cancel("no more")
    running = client.submit(LIGHT, "long", options={"hotset_run_s": 2000})
    eventually(lambda: running.status is State.RUNNING, within_s=30, message=served.log)
    running.cancel("no more")
    eventually(lambda: running.status is State.CANCELLED, within_s=30, message=served.log)
    retried = client.submit(LIGHT, "again", options={"hotset_fault": "nonsense"}, max_retries=1)
    eventually(lambda: retried.status is State.FAILED, within_s=60, message=served.log)
    expired = client.submit(LIGHT, "late", not_before="1m", queue_timeout="1s")
    eventually(lambda: expired.status is State.EXPIRED, within_s=30, message=served.log)
    # A crash is judged, the job runs again, and the worker after it takes up where the first one was.
    struck = client.submit(LIGHT, "struck", options={"hotset_run_s": 300})
    eventually(lambda: struck.status is State.RUNNING, within_s=30, message=served.log)
    served.kill(served.workers[0])
    served.worker(HOTSET_DATABASE_URL=addresses["hotset_worker"])
    assert struck.result(timeout=60) and struck.view.crashes == 1
    assert "permission denied" not in served.log().replace("may not", "")


def test_the_upkeep_does_what_its_role_may_and_says_once_what_it_may_not(
    served: Stack, client: Client, addresses: dict[str, str]
) -> None:
    with psycopg.connect(addresses["hotset_owner"], autocommit=True) as owner:
        eventually(lambda: owner.execute("SELECT count(*) FROM audit_seals").fetchone() != (0,), within_s=20)
        eventually(lambda: owner.execute("SELECT count(*) FROM slot_seconds").fetchone() != (0,), within_s=20)
    eventually(lambda: "remove_old_jobs" in served.log(), within_s=20, message=served.log)
    for name in ("remove_old_jobs", "drop_old_months"):
        assert served.log().count(f"Upkeep {name} is not for this database role") == len(
            {line for line in served.log().splitlines() if f"Upkeep {name} is not" in line}
        )
    assert "Traceback" not in served.log()


def test_the_command_line(
    served: Stack, client: Client, addresses: dict[str, str], hotset: Callable[..., tuple[int, str, str]]
) -> None:
    for words in (
        ("run", LIGHT, "from a shell", "--json"),
        ("jobs", "list", "--json"),
        ("jobs", "dead", "--json"),
        ("status", "--json"),
        ("audit", "list", "--json"),
        ("audit", "verify", "--json"),
        ("audit", "conservation", "--json"),
        ("swaps", "--json"),
        ("models", "--json"),
    ):
        status, out, err = hotset(addresses["hotset_client"], *words)
        assert status == 0, (words, err)
        json.loads(out)
    status, _, err = hotset(addresses["hotset_client"], "queues", "pause", "qwen")
    assert status == 1 and "may not do that" in err
    operator = addresses["hotset_operator"]
    for words in (("queues", "pause", "qwen"), ("queues", "resume", "qwen"), ("retain", "--dry-run")):
        status, _, err = hotset(operator, *words)
        assert status == 0, (words, err)
    job = client.submit(LIGHT, "to be erased")
    job.result(timeout=60)
    status, _, err = hotset(operator, "erase", "--job", str(job.id), "--yes")
    assert status == 0, err
    for words in (("migrate",), ("retain",)):
        status, _, err = hotset(addresses["hotset_owner"], *words)
        assert status == 0, (words, err)


FORBIDDEN = {
    "the audit is not changed": ("worker client operator", "UPDATE audit SET actor = 'x'"),
    "nor shortened": ("worker client operator", "DELETE FROM audit"),
    "nor emptied": ("worker client operator", "TRUNCATE audit"),
    "nor its months dropped": ("worker client operator", "SELECT audit_drop_partitions(0, 'x')"),
    "nor its triggers": ("worker client operator", "ALTER TABLE audit DISABLE TRIGGER ALL"),
    "nor a partition by its name": ("worker client operator", "DELETE FROM audit_default"),
    "nor its seals": ("worker client operator", "UPDATE audit_seals SET sealed_by = 'x'"),
    "only a worker seals": ("client operator", "INSERT INTO audit_seals SELECT * FROM audit_seals"),
    "no job is deleted": ("worker client operator", "DELETE FROM jobs"),
    "what was asked is not changed": ("worker client", "UPDATE jobs SET prompt = 'x'"),
    "nor who asked": ("worker client operator", "UPDATE jobs SET tenant = 'x'"),
    "nor its id": ("worker client operator", "UPDATE jobs SET id = gen_random_uuid()"),
    "no client claims": ("client operator", "UPDATE jobs SET attempt = attempt + 1"),
    "no client writes a result": ("client operator", "INSERT INTO results SELECT * FROM results"),
    "no result is changed": ("worker client", "UPDATE results SET text = 'x'"),
    "no result is deleted": ("worker client operator", "DELETE FROM results"),
    "no table is made": ("worker client operator", "CREATE TABLE mine (x integer)"),
    "no file is read": ("worker client operator owner", "COPY jobs FROM '/etc/passwd'"),
    "no program is run": ("worker client operator owner", "COPY jobs TO PROGRAM 'id'"),
    "no role is taken": ("worker client operator owner", "SET ROLE postgres"),
    "no other may read passwords": ("worker client operator owner", "SELECT * FROM pg_authid"),
}


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        pytest.param(f"hotset_{role}", statement, id=f"{what} ({role})")
        for what, (roles, statement) in FORBIDDEN.items()
        for role in roles.split()
    ],
)
def test_what_a_role_must_not_do_it_cannot(addresses: dict[str, str], role: str, statement: str) -> None:
    with (
        psycopg.connect(addresses[role], autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def kept(client: Client) -> bool:
    return [s["state"] for s in client.memory_stats()["summaries"]] == ["stored"]


def test_what_agents_remember_with_these_roles(
    served: Stack, client: Client, addresses: dict[str, str], hotset: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = hotset(addresses["hotset_owner"], "memory", "setup")
    assert status == 0, err
    memory = client.memory("project:roles")
    made = memory.remember("Acme's refund window is 14 days.")
    assert client.demote() == 1 and client.memory_restore() == 1
    assert memory.search("How long is Acme's refund window?")[0].id == made
    with psycopg.connect(addresses["hotset_worker"], autocommit=True) as worker:
        assert worker.execute("UPDATE memory_tenants SET drilled_at = NULL").rowcount == 1
        assert worker.execute("SELECT count(*) FROM memories").fetchone() == (0,), "no tenant, no rows"
    with psycopg.connect(addresses["hotset_owner"], autocommit=True) as owner:
        assert owner.execute("SELECT count(*) FROM memories").fetchone() == (0,), "forced: for the owner, too"
    told = tell(memory, 0, 5)
    assert client.summarise() == 1
    eventually(lambda: bool(client.summarise()) or kept(client), within_s=30, message=served.log)
    with psycopg.connect(addresses["hotset_client"], autocommit=True) as other:
        job = "SELECT prompt || body_hash::text FROM jobs WHERE agent = 'memory-summariser'"
        assert other.execute(job).fetchone() == ("\\x",), "erased by who may not erase jobs"
    assert client.extract_keys() == 1
    eventually(lambda: bool(client.extract_keys()), within_s=30, message=served.log)
    assert [k["state"] for k in client.memory_stats()["keys"]] == ["left"], "what a simulated model says is no key"
    assert memory.forget(told[0]) == 2
    gone = json.loads(hotset(addresses["hotset_operator"], "erase", "--tenant", "default", "--yes", "--json")[1])
    assert gone["memories"] == 5 and memory.search("How long is Acme's refund window?") == []


def test_not_even_the_owner_changes_the_audit_by_mistake(addresses: dict[str, str]) -> None:
    with psycopg.connect(addresses["hotset_owner"], autocommit=True) as owner:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(psycopg.Error, match="append-only"):
                owner.execute(statement)


def test_every_table_and_function_is_the_owners(addresses: dict[str, str], module_database: str) -> None:
    """A migration that adds one has to add it to the file as well."""
    migrate(addresses["hotset_owner"])
    not_pgvectors = "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = pg_proc.oid AND d.deptype = 'e')"
    with psycopg.connect(module_database) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND relowner <> 'hotset_owner'::regrole"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            f" AND proowner <> 'hotset_owner'::regrole AND {not_pgvectors}"
        ).fetchall()
        assert found == []
        open_to_all = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            f" AND has_function_privilege('public', oid, 'execute') AND {not_pgvectors}"
        ).fetchall()
    assert open_to_all == []


def test_nothing_was_lost_by_it(served: Stack, addresses: dict[str, str]) -> None:
    conserved(addresses["hotset_client"])
