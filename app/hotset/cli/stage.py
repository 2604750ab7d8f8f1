"""The world of a bench: servers of its own in a folder of its own, model servers and workers as processes.

Nothing that the user runs is touched. Everything is stopped at the end, or by a watchdog if this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psycopg
import redis
from psycopg import sql
from sqlalchemy import make_url

from hotset.broker import Board, connect_redis
from hotset.embedded import Servers
from hotset.embedded.postgres import Postgres
from hotset.embedded.process import Process, Watchdog, stop
from hotset.embedded.valkey import Valkey, free_port
from hotset.errors import Unavailable
from hotset.lab import Addresses, BreakableServers, bench_named, run_bench
from hotset.memory import setup as memory
from hotset.store import migrate

_CLI = ("-m", "hotset.cli")
_READY_S = 30.0
_STEP_S = 0.05
_TAIL = 15
#: A worker hands its jobs back, then ends; Celery ends at once at the second.
_SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL)
#: Real disks: the temporary folder may lie in memory, where a commit costs nothing.
_ON_DISK = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a private folder in it


def bench(
    name: str,
    runs: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    *,
    jobs: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Run a bench of `hotset.lab` on servers that are started for it. Raises as `run_bench` and the servers do."""
    bench_named(name, options)  # before anything is started
    with open_stage() as stage:
        return run_bench(name, stage=stage, runs=runs, jobs=jobs, progress=progress, **options)


@contextlib.contextmanager
def open_stage() -> Iterator[EmbeddedStage]:
    """Servers with durable commits while the block lasts, and nothing left of them after it."""
    disk = _ON_DISK if os.access(_ON_DISK, os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix=f"hotset-bench-{os.getpid()}-", dir=disk))
    home.chmod(0o711)  # root's servers run as another account, which has to walk through
    try:
        with Servers(home) as servers:
            stage = EmbeddedStage(home, servers)
            try:
                yield stage
            finally:
                stage.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


class EmbeddedStage:
    """Implements `hotset.lab.Stage`."""

    def __init__(self, home: Path, servers: Servers) -> None:
        self.folder = home
        self._servers = servers
        self._names = count()
        self._processes: list[ChildProcess] = []
        self._servers_of_benches: list[BreakableServer] = []

    def fresh(self) -> Addresses:
        name = f"bench_{next(self._names)}"
        with psycopg.connect(self._servers.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = make_url(self._servers.database_url).set(database=name).render_as_string(hide_password=False)
        migrate(url)
        memory.set_up(url)
        for address in (self._servers.broker_url, self._servers.cache_url):
            with redis.Redis.from_url(address) as client:
                client.flushall()
        return Addresses(url, self._servers.broker_url, self._servers.cache_url)

    def start_model_server(self, fleet: Path, gpu: str, *, scale: float, port: int, trace: Path | None) -> ChildProcess:
        words = ["serve", "--simulate", "--fleet", fleet, "--gpu", gpu, "--scale", scale, "--port", port]
        words += [] if trace is None else ["--log", trace]
        process = self._start(f"serve-{gpu}", [*_CLI, *map(str, words)], {})
        process.wait_until(lambda: _answers(port))
        return process

    def start_worker(
        self,
        addresses: Addresses,
        fleet: Path,
        gpu: str,
        *,
        scale: float,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> ChildProcess:
        settings = {
            "HOTSET_DATABASE_URL": addresses.database_url,
            "HOTSET_BROKER_URL": addresses.broker_url,
            "HOTSET_CACHE_URL": addresses.cache_url,
            "HOTSET_FLEET": str(fleet),
            "HOTSET_GPU": gpu,
            "HOTSET_SCALE": str(scale),
            **environ,
        }
        words = ["-m", "celery", "-A", "hotset_worker", "worker", "-E", "-n", f"{gpu}@%h", "--loglevel", "WARNING"]
        words += ["--without-gossip", "--without-mingle"]  # as `hotset worker` does
        process = self._start(f"worker-{gpu}", words, settings)
        with connect_redis(addresses.broker_url, name="broker_url") as client:
            board = Board(client)
            process.wait_until(lambda: gpu in board.read())
        return process

    def start_celery(self, app: str, arguments: Sequence[str], environ: Mapping[str, str]) -> ChildProcess:
        return self._start("celery", ["-m", "celery", "-A", app, "worker", *arguments], environ)

    def start_module(self, module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> ChildProcess:
        return self._start(module.rpartition(".")[2], ["-m", module, *arguments], environ)

    def start_breakable(self) -> BreakableServers:
        home = self.folder / f"breakable-{next(self._names)}"
        home.mkdir(0o711)
        home.chmod(0o711)  # whatever the umask says
        postgres = BreakableServer(Postgres(home / "postgres"))
        broker = BreakableServer(Valkey(home / "broker", "broker", port=free_port()))
        for server in (postgres, broker):
            self._servers_of_benches.append(server)
            server.start()
        migrate(postgres.url)
        return BreakableServers(Addresses(postgres.url, broker.url, self._servers.cache_url), postgres, broker)

    def stop(self) -> None:
        """Stop what was started, the last first."""
        while self._processes:
            self._processes.pop().stop()
        while self._servers_of_benches:
            self._servers_of_benches.pop().stop()

    def _start(self, name: str, words: Sequence[str], environ: Mapping[str, str]) -> ChildProcess:
        process = ChildProcess(words, environ, self.folder, self.folder / f"{name}-{next(self._names)}.log")
        self._processes.append(process)
        return process


class ChildProcess:
    """A Python of ours, in a session of its own: Ctrl-C reaches us, and we stop it in order."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> None:
        self._log = log
        self._watchdog: Watchdog | None = Watchdog()
        command = [sys.executable, *words]
        with log.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own program
                command,
                cwd=folder,
                env={**_environ_without_settings(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = Process(self._child.pid, tuple(command), _SIGNALS)
        self._watchdog.guard(self._process)

    def check(self) -> None:
        """Raises Unavailable when it has ended by itself."""
        status = self._child.poll()
        if status is not None:
            raise self._failed(f"ended with status {status}")

    @property
    def pid(self) -> int:
        return self._child.pid

    def kill(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)  # not waited for yet: the id is still its own
        self.stop()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {_READY_S:g} s")
            time.sleep(_STEP_S)

    def stop(self) -> None:
        """Idempotent."""
        if self._child.poll() is None:
            stop(self._process)
            self._child.wait()
        if self._watchdog is not None:
            self._watchdog.release()
            self._watchdog = None

    def _failed(self, how: str) -> Unavailable:
        tail = "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-_TAIL:])
        return Unavailable(f"A child process ({self._log.stem}) {how}. The end of its log:\n{tail}\n")


class BreakableServer:
    """An embedded server that is killed without a word, and started again on its data."""

    def __init__(self, server: Postgres | Valkey) -> None:
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def pid(self) -> int:
        if self._server.process is None:
            raise Unavailable(f"{self._server.kind} does not run.")
        return self._server.process.pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._server.stop()

    def start(self) -> None:
        """Again and again for a while: what a dead Postgres leaves running holds its data for a moment."""
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                self._server.start()
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_STEP_S)

    def stop(self) -> None:
        self._server.stop()


def _environ_without_settings() -> dict[str, str]:
    """A user's own settings must not reach what a bench starts."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("HOTSET_", "OLLAMA_", "CELERY_"))}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/version", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
