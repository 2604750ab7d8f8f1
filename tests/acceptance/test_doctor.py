"""`hotset doctor` against real servers: well, and each thing broken in earnest."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest
import redis

from hotset.embedded import Servers
from hotset.errors import HotsetError
from hotset.memory.setup import set_up
from hotset.models import OllamaServer, Prompt
from hotset.store import migrate
from stack import Stack, eventually, running

Hotset = Callable[..., "CompletedProcess[str]"]
LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"
SMALL = "tinyllama"


@pytest.fixture(scope="module")
def ours(module_server_home: Path) -> Iterator[Servers]:
    """Servers with the rules that users get; the other tests' Postgres does not wait for its disk."""
    with Servers(module_server_home) as servers:
        migrate(servers.database_url)
        set_up(servers.database_url)
        yield servers


@pytest.fixture
def stack(tmp_path: Path, ours: Servers) -> Iterator[Stack]:
    for url in (ours.broker_url, ours.cache_url):
        with redis.Redis.from_url(url) as client:
            client.flushall()
    with running(Stack(tmp_path, ours.database_url, ours.broker_url, ours.cache_url)) as started:
        yield started


@pytest.fixture
def doctor(hotset: Hotset) -> Callable[..., dict[str, Any]]:
    """What `hotset doctor --json` found: name -> check (the worst of that name), and "ok"."""
    order = ["skipped", "ok", "warning", "failed"]

    def run(*words: str, **environ: str) -> dict[str, Any]:
        done = hotset("doctor", "--json", "--timeout", "5", *words, **environ)
        said = json.loads(done.stdout)
        assert set(said) == {"ok", "checks"} and done.stderr == ""
        assert done.returncode == (0 if said["ok"] else 1)
        assert said["ok"] == all(check["status"] != "failed" for check in said["checks"])
        found: dict[str, Any] = {"ok": said["ok"]}
        for check in said["checks"]:
            assert set(check) == {"name", "status", "found", "remedy", "ms"} and check["found"]
            assert bool(check["remedy"]) == (check["status"] in ("warning", "failed")), check
            known = found.get(check["name"])
            if known is None or order.index(check["status"]) > order.index(known["status"]):
                found[check["name"]] = check
        return found

    return run


def failed(found: dict[str, Any]) -> set[str]:
    return {name for name, check in found.items() if name != "ok" and check["status"] == "failed"}


def test_all_is_well_and_a_worker_that_differs_is_named(
    hotset: Hotset, doctor: Callable[..., dict[str, Any]], stack: Stack
) -> None:
    stack.worker()
    stack.client().submit(LIGHT, "hello").result(timeout=120)
    eventually(lambda: json.loads(hotset("status", "--json").stdout)["gpus"]["gpu0"]["busy"] == 0, within_s=20)
    found = doctor()
    not_well = {name: check for name, check in found.items() if name != "ok" and check["status"] != "ok"}
    # A simulated GPU is said plainly; of three models one was loaded, the others are left alone.
    assert set(not_well) == {"gpu0.server", "gpu0.rest", "database.encryption"}, not_well
    assert found["ok"] is True and "SIMULATED" in found["gpu0.server"]["found"]
    assert "2 of 2" in found["gpu0.parallel"]["found"] and SMALL in found["gpu0.sizes"]["found"]
    assert f"{SMALL} + qwen2.5-coder:7b; deepseek-r1:8b alone" in found["gpu0.fit"]["found"]
    said = hotset("doctor", "--quick")
    assert said.returncode == 0 and "✓ database " in said.stdout and "-> For real answers" in said.stdout

    # The worker runs at 0.01.
    slow = doctor("--quick", HOTSET_SCALE="0.5")
    assert failed(slow) == {"gpu0.worker"} and "scale" in slow["gpu0.worker"]["found"]

    # A second owner of one GPU hides behind the board's one key; its connections to Postgres do not.
    with psycopg.connect(stack.env["HOTSET_DATABASE_URL"], application_name="hotset-worker gpu0@elsewhere:1"):
        twice = doctor("--quick")
    assert failed(twice) == {"gpu0.worker"} and "2 workers" in twice["gpu0.worker"]["found"]


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [("appendonly", "no", "broker.persistence"), ("maxmemory-policy", "allkeys-lru", "broker.eviction")],
)
def test_a_broker_that_forgets(
    doctor: Callable[..., dict[str, Any]], ours: Servers, setting: str, value: str, check: str
) -> None:
    with redis.Redis.from_url(ours.broker_url, decode_responses=True) as broker:
        before: Any = broker.config_get(setting)
        broker.config_set(setting, value)
        try:
            found = doctor("--quick")
        finally:
            broker.config_set(setting, before[setting])
    assert failed(found) == {check} and setting in found[check]["remedy"]


def test_broker_and_cache_are_one_server(doctor: Callable[..., dict[str, Any]], ours: Servers) -> None:
    found = doctor("--quick", HOTSET_CACHE_URL=ours.broker_url.replace("/0", "/1"))
    assert failed(found) == {"broker.apart"} and "HOTSET_CACHE_URL" in found["broker.apart"]["remedy"]
    # The broker's rules are wrong for a cache.
    assert found["cache.eviction"]["status"] == "warning"


def test_a_database_without_our_tables_or_with_older_ones(doctor: Callable[..., dict[str, Any]], ours: Servers) -> None:
    with psycopg.connect(ours.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
    bare = ours.database_url.replace("/hotset?", "/bare?")
    assert bare != ours.database_url
    found = doctor("--quick", HOTSET_DATABASE_URL=bare)
    assert failed(found) == {"database.migrations"} and "no tables" in found["database.migrations"]["found"]
    assert found["database.migrations"]["remedy"] == "Run `hotset migrate`."
    assert found["upkeep"]["status"] == "skipped"

    migrate(bare, "0001")
    found = doctor("--quick", HOTSET_DATABASE_URL=bare)
    assert failed(found) == {"database.migrations"} and "0002" in found["database.migrations"]["found"]

    with psycopg.connect(bare, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    found = doctor("--quick", HOTSET_DATABASE_URL=bare)
    assert failed(found) == {"database.migrations"} and "9999" in found["database.migrations"]["found"]


def test_a_database_that_does_not_wait_for_its_disk(doctor: Callable[..., dict[str, Any]], database: str) -> None:
    found = doctor("--quick", HOTSET_DATABASE_URL=database)
    assert failed(found) == {"database.durability"} and "fsync off" in found["database.durability"]["found"]


def test_dead_servers_are_named_and_no_secret_is_shown(hotset: Hotset, stack: Stack) -> None:
    _give_address(stack, "http://ann:hunter2222@127.0.0.1:1")
    dead = {
        "HOTSET_DATABASE_URL": "postgresql://ann:hunter2222@127.0.0.1:1/hotset",
        "HOTSET_BROKER_URL": "redis://ann:hunter2222@127.0.0.1:1/0",
        "HOTSET_CACHE_URL": "redis://127.0.0.1:1/0?password=hunter2222",
    }
    said = hotset("doctor", **dead)
    assert said.returncode == 1
    for name in ("database", "broker", "cache", "gpu0.server"):
        assert f"✗ {name} " in said.stdout
    assert "hunter" not in said.stdout + said.stderr
    assert said.stdout.count("-> ") >= 4


def test_a_model_server_that_takes_connections_and_says_nothing(
    doctor: Callable[..., dict[str, Any]], stack: Stack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        _give_address(stack, address)
        found = doctor("--timeout", "0.5")
    assert failed(found) == {"gpu0.server"} and address in found["gpu0.server"]["found"]


def test_a_model_server_that_answers_and_generates_nothing(doctor: Callable[..., dict[str, Any]], stack: Stack) -> None:
    address = _address(stack.fleet(num_parallel=1))
    with _hanging(address):
        found = doctor("--timeout", "0.5")
    assert failed(found) == {"gpu0.generates"} and "Restart" in found["gpu0.generates"]["remedy"]
    assert found["gpu0.models"]["status"] == "ok"


def test_fewer_requests_at_once_than_slots(doctor: Callable[..., dict[str, Any]], stack: Stack) -> None:
    stack.fleet(num_parallel=1)
    found = doctor("--timeout", "3")
    assert failed(found) == {"gpu0.parallel"} and "1 of 2" in found["gpu0.parallel"]["found"]
    assert "OLLAMA_NUM_PARALLEL=2" in found["gpu0.parallel"]["remedy"]


def test_thorough_probes_every_model_and_quick_loads_none(doctor: Callable[..., dict[str, Any]], stack: Stack) -> None:
    server = OllamaServer(_address(stack.fleet()))
    quick = doctor("--quick")
    assert quick["gpu0.generates"]["status"] == "skipped" and server.resident() == ()
    loads = [json.loads(line) for line in stack.trace().read_text().splitlines()]
    assert not any(event["event"] == "load" for event in loads)
    assert doctor("--thorough")["ok"] is True
    loads = [json.loads(line) for line in stack.trace().read_text().splitlines()]
    # Each once: no probe makes the server load a model again.
    assert sorted(event["model"] for event in loads if event["event"] == "load") == [
        "deepseek-r1:8b",
        "qwen2.5-coder:7b",
        SMALL,
    ]
    server.close()


def test_a_model_that_the_server_lacks_and_one_of_another_size(
    doctor: Callable[..., dict[str, Any]], stack: Stack
) -> None:
    stack.fleet()
    text = stack.fleet_path.read_text()
    changed = text.replace("qwen2.5-coder:7b", "qwen9").replace("size_mb: 800", "size_mb: 500")
    stack.fleet_path.write_text(changed)
    found = doctor()
    assert failed(found) == {"gpu0.models", "gpu0.sizes"}
    assert "qwen9 is not there" in found["gpu0.models"]["found"]
    assert "size_mb: 800" in found["gpu0.sizes"]["remedy"]


def test_a_model_larger_than_every_gpu_and_a_wrong_setting(doctor: Callable[..., dict[str, Any]], stack: Stack) -> None:
    stack.fleet_path.write_text(stack.fleet_path.read_text().replace("size_mb: 3200", "size_mb: 9200"))
    found = doctor()
    assert failed(found) == {"fleet"} and "deepseek-r1:8b" in found["fleet"]["found"]
    assert failed(doctor(HOTSET_LEASE_S="1")) == {"settings"}


def test_others_who_use_the_model_server(doctor: Callable[..., dict[str, Any]], stack: Stack) -> None:
    """Somebody holds a model that the fleet does not have, and one of ours with another context."""
    server = OllamaServer(_address(stack.fleet()))
    stack.fleet_path.write_text(stack.fleet_path.read_text().replace("qwen2.5-coder:7b", "qwen9"))
    server.load("qwen2.5-coder:7b", {}, timeout_s=10)
    found = doctor()
    assert found["gpu0.others"]["status"] == "warning" and "qwen2.5-coder:7b" in found["gpu0.others"]["found"]
    assert found["gpu0.generates"]["status"] == "skipped"  # ours might evict theirs
    server.load(SMALL, {"num_ctx": 2048}, timeout_s=10)
    found = doctor("--quick")
    assert found["gpu0.context"]["status"] == "warning" and "2048" in found["gpu0.context"]["found"]
    server.close()


def test_work_that_stands_still(
    hotset: Hotset, doctor: Callable[..., dict[str, Any]], stack: Stack, database: str
) -> None:
    environ = {"HOTSET_DATABASE_URL": database}
    stack.env |= environ
    stack.client().submit_many([(LIGHT, "a"), (BALANCED, "b"), (BALANCED, "c")])
    with psycopg.connect(database, autocommit=True) as connection:
        unmarked = "SELECT 1 FROM jobs WHERE published_at IS NULL"
        eventually(lambda: connection.execute(unmarked).fetchone() is None, within_s=20)
        connection.execute(
            "UPDATE jobs SET published_at = NULL, arrived_at = now() - interval '1 minute' WHERE prompt = 'a'"
        )
        connection.execute(
            "UPDATE jobs SET state = 'running', lease_until = now() - interval '1 minute' WHERE prompt = 'b'"
        )
    with redis.Redis.from_url(stack.env["HOTSET_BROKER_URL"]) as broker:
        broker.lpush("hs:quarantine", "nonsense")
    assert hotset("queues", "pause", "qwen").returncode == 0
    found = doctor("--quick")
    assert "queue qwen" in found["upkeep.pauses"]["found"]
    assert failed(found) == {"database.durability", "upkeep.publishing", "upkeep.leases", "upkeep.waiting"}
    assert "hotset worker --gpu gpu0" in found["upkeep.waiting"]["remedy"]
    assert found["upkeep.quarantine"]["status"] == "warning"
    assert found["gpu0.worker"]["status"] == "warning"


@contextmanager
def _hanging(address: str) -> Iterator[None]:
    """The only turn of the model is taken by a request that never gets a token: `/api/tags` answers all the same."""
    server = OllamaServer(address)
    server.load(SMALL, {"num_ctx": 4096}, timeout_s=10)
    prompt = Prompt(SMALL, "x", options={"num_ctx": 4096, "hotset_fault": "hang"})
    generation = server.generate(prompt, first_token_timeout_s=60, stall_timeout_s=60)

    def hang() -> None:
        with pytest.raises(HotsetError):
            next(generation)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        yield
    finally:
        generation.close()
        thread.join(timeout=10)
        server.close()


def _address(stack: Stack) -> str:
    return stack.fleet_path.read_text().partition("address: '")[2].partition("'")[0]


def _give_address(stack: Stack, address: str) -> None:
    stack.fleet_path.write_text(stack.fleet_path.read_text().replace(_address(stack), address))
