"""Everything locked: Redis users by deploy/valkey/users.acl, Postgres roles, TLS to all three servers, a password each.

It works, each user is kept to its own, wrong certificates are refused, and no password is ever seen.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from celery import Celery
from sqlalchemy import make_url

import hotset
from auditor import conserved
from hotset.embedded.valkey import free_port
from hotset.embedded.wheels import valkey_program
from hotset.errors import BrokerUnavailable, StoreUnavailable, Unavailable
from hotset.jobs import State
from proxy import Proxy
from stack import Stack, eventually
from tls import Certificates, make_certificates

ROOT = Path(__file__).parents[2]
LIGHT = "log-aggregator-loki"
#: Nothing else anywhere is called like these.
SECRETS = {name: f"Geheim-{name}-7f3a91c4" for name in ("worker", "client", "flower", "celery", "database", "pages")}


class Hardened:
    def __init__(
        self, stack: Stack, certificates: Certificates, proxies: dict[str, Proxy], ports: dict[str, int]
    ) -> None:
        self.stack, self.certificates, self.proxies, self.ports = stack, certificates, proxies, ports
        self.database = stack.env["HOTSET_DATABASE_URL"]

    def redis_url(self, server: str, user: str, *, ca: Path | None = None) -> str:
        where = f"hotset-{user}:{SECRETS[user]}@127.0.0.1:{self.proxies[server].port}"
        return f"rediss://{where}/0?ssl_ca_certs={ca or self.certificates.ca}"

    def database_url(self, role: str, *, ca: Path | None = None) -> str:
        url = make_url(self.proxies["database"].in_place_of(self.database))
        url = url.set(username=role, password=SECRETS["database"])
        query = {"sslmode": "verify-full", "sslrootcert": str(ca or self.certificates.ca)}
        return url.update_query_dict(query).render_as_string(hide_password=False)

    def addresses(self, user: str) -> dict[str, str]:
        """Settings of a program of that kind."""
        return {
            "HOTSET_DATABASE_URL": self.database_url(f"hotset_{user}"),
            "HOTSET_BROKER_URL": self.redis_url("broker", user),
            "HOTSET_CACHE_URL": self.redis_url("cache", user),
        }

    def bare(self, server: str, user: str) -> redis.Redis:
        """Without TLS, past the proxy: what the user may do there."""
        return redis.Redis(port=self.ports[server], username=f"hotset-{user}", password=SECRETS[user])


@contextlib.contextmanager
def valkey(folder: Path, acl: Path) -> Iterator[int]:
    """A server with those users, as its own configuration would have them."""
    port = free_port()
    words = [str(valkey_program().binary("valkey-server")), "--port", str(port), "--bind", "127.0.0.1"]
    words += ["--aclfile", str(acl), "--save", "", "--dir", str(folder), "--maxmemory-policy", "noeviction"]
    with (folder / f"valkey-{port}.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        with redis.Redis(port=port, username="hotset-client", password=SECRETS["client"]) as connection:
            eventually(lambda: _answers(connection), within_s=20, message=lambda: str(list(folder.iterdir())))
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(connection: redis.Redis) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def hardened(module_stack: Stack, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardened]:
    folder = tmp_path_factory.mktemp("hardened")
    certificates = make_certificates(folder)
    acl = folder / "users.acl"
    text = (ROOT / "deploy" / "valkey" / "users.acl").read_text()
    for name in ("worker", "client", "flower", "celery"):
        text = text.replace(f">{name.upper()}-PASSWORD", f">{SECRETS[name]}")
    acl.write_text(text + "user test-admin on >x ~* &* +@all\n")
    with psycopg.connect(module_database, autocommit=True) as connection:
        connection.execute((ROOT / "deploy" / "postgres" / "roles.sql").read_text())
    with contextlib.ExitStack() as exits:
        ports = {name: exits.enter_context(valkey(folder, acl)) for name in ("broker", "cache")}
        tls = certificates.server
        proxies = {name: exits.enter_context(Proxy(("127.0.0.1", port), tls=tls)) for name, port in ports.items()}
        proxies["database"] = exits.enter_context(Proxy.of_postgres(module_database, tls=tls, asks_for_tls=True))
        hardened = Hardened(module_stack, certificates, proxies, ports)
        module_stack.env |= hardened.addresses("client")
        module_stack.fleet().worker(**hardened.addresses("worker"))
        yield hardened
        module_stack.close()
    with psycopg.connect(module_database, autocommit=True) as connection:
        for name in ("owner", "worker", "client", "operator"):
            connection.execute(f"DROP OWNED BY hotset_{name} CASCADE; DROP ROLE hotset_{name}")


@pytest.fixture(scope="module")
def client(hardened: Hardened) -> hotset.Client:
    client = hardened.stack.client()
    client.submit(LIGHT, "warm").result(timeout=60)
    return client


def test_everything_works(hardened: Hardened, client: hotset.Client) -> None:
    stack = hardened.stack
    assert [event.kind for event in client.stream(LIGHT, "hello", timeout=60)][-1] == "done"
    running = client.submit(LIGHT, "long", options={"hotset_run_s": 2000})
    eventually(lambda: running.status is State.RUNNING, within_s=30, message=stack.log)
    began = time.monotonic()
    running.cancel("enough")
    eventually(lambda: running.status is State.CANCELLED, within_s=20, message=stack.log)
    blocked = [client.submit(LIGHT, f"{i}", options={"hotset_run_s": 100}) for i in range(4)]
    assert blocked[-1].position is not None or blocked[-1].status is not State.QUEUED
    assert blocked[-1].eta is not None or time.monotonic() - began > 1
    blocked[-1].cancel("enough")
    for job in blocked[:-1]:
        job.result(timeout=60)
    assert refusals(hardened) == []


def refusals(hardened: Hardened) -> list[str]:
    """What the servers refused to hotset's own programs since the last time."""
    found = []
    for port in hardened.ports.values():
        with redis.Redis(port=port, username="test-admin", password="x", decode_responses=True) as admin:
            found += [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in admin.acl_log()]
            admin.acl_log_reset()
    return found


def test_the_command_line_and_flower_work(hardened: Hardened, client: hotset.Client) -> None:
    env = {**hardened.stack.env, **hardened.addresses("client")}
    done = subprocess.run(
        [sys.executable, "-m", "hotset.cli", "status", "--json"], env=env, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0 and "gpu0" in str(json.loads(done.stdout)), done.stderr
    flower = {"HOTSET_BROKER_URL": hardened.redis_url("broker", "flower")}
    flower |= {"HOTSET_FLOWER_AUTH": f"ann:{SECRETS['pages']}"}
    with (hardened.stack.folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hotset.cli", "flower", "--port", "0", "--json"],
            env={**hardened.stack.env, **flower},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert httpx.get(f"{url}/workers", trust_env=False).status_code == 401
        with httpx.Client(base_url=url, auth=("ann", SECRETS["pages"]), trust_env=False, timeout=30) as pages:
            eventually(lambda: "gpu0@" in pages.get("/workers?refresh=1").text, within_s=10)
            assert "tinyllama" in pages.get("/broker").text
        seen(hardened, "the command lines of all programs", command_lines())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        process.stdout.close()


def test_a_plain_celery_producer_needs_no_more_than_its_user_may(hardened: Hardened, client: hotset.Client) -> None:
    app = Celery("elsewhere", set_as_current=False, broker=hardened.redis_url("broker", "celery").split("?")[0])
    app.conf.broker_use_ssl = {"ssl_ca_certs": str(hardened.certificates.ca)}
    app.conf.task_ignore_result = True
    sent = app.send_task("hotset.run", kwargs={"agent": LIGHT, "prompt": "plain"}, queue="tinyllama")

    def ended() -> bool:
        try:
            return client.job(sent.id).status is State.SUCCEEDED
        except hotset.HotsetError:
            return False

    eventually(ended, within_s=30, message=hardened.stack.log)
    app.close()


FORBIDDEN: dict[str, tuple[str, tuple[Any, ...]]] = {
    "a flush": ("worker client flower celery", ("FLUSHALL",)),
    "the configuration": ("worker client flower celery", ("CONFIG", "GET", "requirepass")),
    "a stop": ("worker client flower celery", ("SHUTDOWN", "NOSAVE")),
    "others' users": ("worker client flower celery", ("ACL", "LIST")),
    "what others do": ("worker client flower celery", ("MONITOR",)),
    "all keys": ("worker client flower celery", ("KEYS", "*")),
    "another replica": ("worker client flower celery", ("REPLICAOF", "127.0.0.1", "1")),
    "others' connections": ("worker client flower celery", ("CLIENT", "KILL", "TYPE", "normal")),
    "stored functions": ("worker client flower celery", ("FUNCTION", "FLUSH")),
    "others' keys": ("worker client flower celery", ("SET", "session:1", "x")),
    "a claim": ("client flower celery", ("HSET", "hs:unacked", "forged", "[]")),
    "a GPU's entry": ("client flower celery", ("HSET", "hs:gpu:gpu0", "worker", "forged")),
    "the quarantine": ("client flower celery", ("LPUSH", "hs:quarantine", "x")),
    "a lane": ("flower celery", ("ZADD", "hs:arrival:tinyllama:normal", "0", "forged")),
    "to empty an inbox": ("client flower celery", ("DEL", "tinyllama")),
    "to read what waits": ("celery", ("LRANGE", "tinyllama", "0", "-1")),
    "an inbox": ("client flower", ("LPUSH", "tinyllama", "x")),
    "a cancellation": ("flower celery", ("PUBLISH", "hs:cancel", "x")),
}


@pytest.mark.parametrize(
    ("user", "command"),
    [
        pytest.param(user, command, id=f"{user}: {what}")
        for what, (users, command) in FORBIDDEN.items()
        for user in users.split()
    ],
)
def test_what_a_user_must_not_do_it_cannot(hardened: Hardened, user: str, command: tuple[Any, ...]) -> None:
    with hardened.bare("broker", user) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command)


def test_who_has_no_password_gets_nowhere(hardened: Hardened) -> None:
    with redis.Redis(port=hardened.ports["broker"]) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("x")


@pytest.mark.parametrize("server", ["broker", "cache", "database"])
def test_a_certificate_of_another_authority_is_refused(hardened: Hardened, server: str) -> None:
    other = hardened.certificates.other_ca
    address = (
        hardened.database_url("hotset_client", ca=other)
        if server == "database"
        else hardened.redis_url(server, "client", ca=other)
    )
    words = _refused(hardened, **{f"{server}_url": address})
    assert "certificate" in words.lower(), words
    seen(hardened, "the error", words)


@pytest.mark.parametrize("server", ["broker", "database"])
def test_a_certificate_for_another_name_is_refused(hardened: Hardened, server: str) -> None:
    address = hardened.database_url("hotset_client") if server == "database" else hardened.redis_url(server, "client")
    words = _refused(hardened, **{f"{server}_url": address.replace("127.0.0.1", "localhost")})
    assert "certificate" in words.lower() and "localhost" in words.lower(), words


def test_a_client_without_tls_is_refused(hardened: Hardened) -> None:
    plain = hardened.redis_url("broker", "client").split("?")[0].replace("rediss", "redis")
    assert _refused(hardened, broker_url=plain)


def _refused(hardened: Hardened, **settings: str) -> str:
    client = hardened.stack.client(**settings)
    with pytest.raises(Unavailable) as caught:
        if "database_url" in settings:
            client.jobs()
        elif "broker_url" in settings:
            client._lanes.lengths(["tinyllama"])
        else:
            hotset_cache(client)
    assert isinstance(caught.value, BrokerUnavailable | StoreUnavailable)
    return str(caught.value)


def hotset_cache(client: hotset.Client) -> None:
    from hotset.broker.lanes import reachable

    with reachable(client._listener.redis):
        client._listener.redis.ping()


def command_lines() -> str:
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def seen(hardened: Hardened, where: str, text: str) -> None:
    found = [name for name, secret in SECRETS.items() if secret in text]
    assert found == [], f"{where} shows the passwords of {found}"


#: Errors by which a password could get out: each is asked for with the others in place.
BROKEN: dict[str, Callable[[Hardened], dict[str, str]]] = {
    "a port where nobody listens": lambda h: {
        "HOTSET_DATABASE_URL": f"postgresql://x:{SECRETS['database']}@127.0.0.1:1/x"
    },
    "a broker where nobody listens": lambda h: {"HOTSET_BROKER_URL": f"redis://x:{SECRETS['worker']}@127.0.0.1:1/0"},
    "no port": lambda h: {"HOTSET_BROKER_URL": f"redis://x:{SECRETS['worker']}@127.0.0.1:port/0"},
    "no scheme": lambda h: {"HOTSET_BROKER_URL": f"x:{SECRETS['worker']}@127.0.0.1:1/0"},
    "another scheme": lambda h: {"HOTSET_BROKER_URL": f"amqp://x:{SECRETS['worker']}@127.0.0.1:1/0"},
    "an unknown parameter": lambda h: {
        "HOTSET_BROKER_URL": h.redis_url("broker", "worker") + f"&x={SECRETS['worker']}"
    },
    "an unknown TLS parameter": lambda h: {"HOTSET_BROKER_URL": h.redis_url("broker", "worker") + "&ssl_nothing=1"},
    "no certificate there": lambda h: {"HOTSET_BROKER_URL": h.redis_url("broker", "worker", ca=Path("/nowhere"))},
    "no database address": lambda h: {"HOTSET_DATABASE_URL": f"{SECRETS['database']}"},
    "an unknown database parameter": lambda h: {"HOTSET_DATABASE_URL": h.database_url("hotset_client") + "&x=1"},
    "no database port": lambda h: {"HOTSET_DATABASE_URL": f"postgresql://x:{SECRETS['database']}@127.0.0.1:port/x"},
    "a wrong login of Flower": lambda h: {"HOTSET_FLOWER_AUTH": SECRETS["pages"]},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_no_error_shows_a_password(
    hardened: Hardened, fault: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the command line and the worker print when that setting is broken, tracebacks included."""
    monkeypatch.chdir(hardened.stack.folder)
    broken = BROKEN[fault](hardened)
    for name, value in {k: v for k, v in (hardened.stack.env | broken).items() if k.startswith("HOTSET_")}.items():
        monkeypatch.setenv(name, value)
    words = ["flower", "--port", "0"] if "HOTSET_FLOWER_AUTH" in broken else ["status"]
    monkeypatch.setattr("sys.argv", ["hotset", *words])
    with pytest.raises(SystemExit) as ended:
        hotset_main()
    said = capfd.readouterr()
    assert ended.value.code not in (0, None)
    seen(hardened, fault, said.out + said.err)
    assert "Traceback" not in said.err


def hotset_main() -> None:
    from hotset.cli import main

    main()


def test_no_log_command_line_audit_or_event_shows_a_password(hardened: Hardened, client: hotset.Client) -> None:
    stack = hardened.stack
    failing = client.submit(LIGHT, "x", options={"hotset_fault": "cut"}, max_retries=0)
    eventually(lambda: failing.status is State.FAILED, within_s=30, message=stack.log)
    # Its servers go away for a moment: the errors of that are in its log.
    for proxy in hardened.proxies.values():
        proxy.cut()
    with contextlib.suppress(StoreUnavailable):
        client.submit(LIGHT, "at the cut", idempotency_key="cut")
    client.submit(LIGHT, "at the cut", idempotency_key="cut").result(timeout=60)
    seen(hardened, "the command lines of all programs", command_lines())
    for path in [*stack.folder.rglob("*"), *hardened.certificates.ca.parent.glob("*.log")]:
        if path.is_file():
            seen(hardened, str(path), path.read_text(errors="replace"))
    with psycopg.connect(hardened.database, autocommit=True) as connection:
        for query in (
            "SELECT string_agg(audit::text, ' ') FROM audit",
            "SELECT string_agg(jobs::text, ' ') FROM jobs",
            "SELECT string_agg(query || application_name, ' ') FROM pg_stat_activity",
            "SELECT string_agg(swaps::text, ' ') FROM swaps",
        ):
            (text,) = connection.execute(query).fetchone() or ("",)
            seen(hardened, query, str(text))
    with hardened.bare("broker", "worker") as broker:
        for key in broker.scan_iter("hs:*"):
            seen(hardened, f"{key!r} in the broker", str(broker.dump(key)) if broker.type(key) == b"none" else str(key))
        seen(hardened, "the GPU's entry", str(broker.hgetall("hs:gpu:gpu0")))
    for name in ("repr", "config"):
        seen(hardened, name, repr(client.settings) if name == "repr" else str(client.settings.database_url))


def test_nothing_was_lost_by_it(hardened: Hardened) -> None:
    conserved(hardened.database)
