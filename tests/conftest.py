"""Real servers for tests that ask for them: started once, at the first test that needs one.

Addresses of servers of your own are taken from HOTSET_TEST_DATABASE_URL, HOTSET_TEST_BROKER_URL and
HOTSET_TEST_CACHE_URL. There, tests make and drop databases named hotset_test_*, and flush the Redis database
numbers that the addresses name.

Without a service a test is skipped on a laptop and fails where CI is set: a skip that nobody sees tests nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import Engine, make_url

from hotset.embedded import Servers
from hotset.errors import Unavailable
from hotset.store import JobStore, make_engine
from lengths import LENGTH
from stack import Stack, running

TESTS = Path(__file__).parent
SLOW_ROOMS = {"chaos", "benchmarks"}
# What the tests lose in a power cut is nothing; each commit is half a millisecond instead of several.
QUICK = {"fsync": "off", "full_page_writes": "off"}

# A file system in memory, where there is one: thousands of small files come and go with each cluster.
MEMORY = Path("/dev/shm")
ROOM = 3 * 1024**3  # bytes; Postgres may keep 1 GB of its log alone

TEARDOWN_S = 120

# A shell starts background jobs with Ctrl-C ignored, and so would be every program that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Addresses:
    """The three servers of this session. `shared`: they are somebody's, not ours to flush as a whole."""

    database_url: str
    broker_url: str
    cache_url: str
    shared: bool = False


@dataclass(frozen=True)
class Template:
    """A database with all migrations applied, and what it takes to copy it."""

    server_url: str
    name: str
    counter: Iterator[int]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
        short = LENGTH == "least" and item.get_closest_marker("always")
        if not short and _room(item) in SLOW_ROOMS:
            item.add_marker(pytest.mark.slow)
    # Side by side, the longest files come first, so that no process is left alone with one of them at the end.
    items.sort(key=lambda item: _room(item) == "unit")
    items.sort(key=lambda item: _room(item) != "chaos")


def _room(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A teardown that hangs ends the session and says where: a test's timeout ends with its first failure."""

    def give_up() -> None:
        item.config.pluginmanager.getplugin("capturemanager").suspend_global_capture()
        print(f"\nThe teardown of {item.nodeid} has not ended within {TEARDOWN_S} s:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback()
        os._exit(3)

    timer = threading.Timer(TEARDOWN_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@pytest.fixture(scope="module")
def module_server_home() -> Iterator[Path]:
    """As `server_home`, for all tests of a module."""
    yield from _server_home()


@pytest.fixture
def server_home() -> Iterator[Path]:
    """An empty folder for servers. Not tmp_path: below its 0700 parents root's servers could not reach it."""
    yield from _server_home()


@pytest.fixture(scope="session")
def servers() -> Iterator[Addresses]:
    """Postgres, broker and cache, without anything in them at first. Most tests want the fixtures below."""
    given = [os.environ.get(f"HOTSET_TEST_{name}_URL") for name in ("DATABASE", "BROKER", "CACHE")]
    if all(given):
        database, broker, cache = map(str, given)
        yield Addresses(database, broker, cache, shared=True)
        return
    if any(given):
        pytest.fail("Give all of HOTSET_TEST_DATABASE_URL, _BROKER_URL and _CACHE_URL, or none.", pytrace=False)
    for home in _server_home():
        started = Servers(home, postgres_settings=QUICK)
        try:
            started.start()
        except Unavailable as error:
            no_service(error)
        try:
            yield Addresses(started.database_url, started.broker_url, started.cache_url)
        finally:
            started.stop()


@pytest.fixture(scope="session")
def migrated_template(servers: Addresses) -> Iterator[Template]:
    """The database that `database` copies: migrated once a session."""
    from hotset.memory import setup as memory
    from hotset.store import migrate

    template = Template(servers.database_url, f"hotset_test_{uuid.uuid4().hex[:8]}", itertools.count())
    try:
        _administer(servers.database_url, "CREATE DATABASE {}", template.name)
    except psycopg.OperationalError as error:
        no_service(error)
    migrate(_with_database(servers.database_url, template.name))
    if has_pgvector(servers):
        memory.set_up(_with_database(servers.database_url, template.name))
    # A copy needs the template to itself: no pool may reach it any more.
    _administer(servers.database_url, "ALTER DATABASE {} ALLOW_CONNECTIONS false", template.name)
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(query, [template.name])
    yield template
    _administer(servers.database_url, "DROP DATABASE {} WITH (FORCE)", template.name)


@pytest.fixture
def database(migrated_template: Template) -> Iterator[str]:
    """The address of a fresh, migrated database for one test."""
    yield from _copy_of(migrated_template)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """Connections to a fresh, migrated database; enough for tests that race."""
    engine = make_engine(database, application="test", pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> JobStore:
    return JobStore(engine)


@pytest.fixture(scope="module")
def module_database(migrated_template: Template) -> Iterator[str]:
    """The address of a fresh, migrated database for all tests of a module."""
    yield from _copy_of(migrated_template)


@pytest.fixture
def broker_url(servers: Addresses) -> str:
    """The address of an empty broker."""
    return _flushed(servers.broker_url, shared=servers.shared)


@pytest.fixture
def cache_url(servers: Addresses) -> str:
    """The address of an empty cache."""
    return _flushed(servers.cache_url, shared=servers.shared)


@pytest.fixture
def stack(tmp_path: Path, database: str, broker_url: str, cache_url: str) -> Iterator[Stack]:
    """Everything but model servers and workers, which the test starts: see `tests/stack.py`."""
    with running(Stack(tmp_path, database, broker_url, cache_url)) as started:
        yield started


@pytest.fixture(scope="module")
def module_stack(tmp_path_factory: pytest.TempPathFactory, module_database: str, servers: Addresses) -> Iterator[Stack]:
    """As `stack`, for all tests of a module: a worker takes seconds to start. They must not ask for `stack` too."""
    broker, cache = (_flushed(url, shared=servers.shared) for url in (servers.broker_url, servers.cache_url))
    with running(Stack(tmp_path_factory.mktemp("stack"), module_database, broker, cache)) as started:
        yield started


def has_pgvector(servers: Addresses) -> bool:
    """The embedded Postgres has; one of somebody's may not."""
    with psycopg.connect(servers.database_url) as connection:
        query = "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
        return connection.execute(query).fetchone() is not None


def no_service(reason: object) -> NoReturn:
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"No servers to test with: {reason}", pytrace=False)
    pytest.skip(f"no servers to test with: {reason}")


def _server_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="hotset-tests-", dir=MEMORY if _has_room(MEMORY) else None))
    home.chmod(0o711)
    try:
        yield home
    finally:
        with contextlib.suppress(Unavailable):  # what a failed test left running
            Servers(home).stop()
        shutil.rmtree(home, ignore_errors=True)


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM


def _copy_of(template: Template) -> Iterator[str]:
    name = f"{template.name}_{next(template.counter)}"
    with psycopg.connect(template.server_url, autocommit=True) as connection:
        # Copying files is faster than logging every page of them, for a database this small.
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(query.format(sql.Identifier(name), sql.Identifier(template.name)))
    yield _with_database(template.server_url, name)
    _administer(template.server_url, "DROP DATABASE {} WITH (FORCE)", name)


def _administer(url: str, statement: str, database: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(database)))


def _with_database(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _flushed(url: str, *, shared: bool) -> str:
    with redis.Redis.from_url(url) as client:
        try:
            if shared:
                client.flushdb()
            else:
                client.flushall()
        except redis.ConnectionError as error:
            no_service(error)
    return url
