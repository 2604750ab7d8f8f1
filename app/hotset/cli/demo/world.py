"""What the demo runs on, started in order and stopped in the other one, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from hotset.agents import demo_prompts
from hotset.broker import Board, GpuState, connect_redis
from hotset.cli.output import SIMULATED, note
from hotset.cli.stage import ChildProcess
from hotset.client import Client, Job
from hotset.errors import HotsetError
from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet
from hotset.models import OllamaServer, canonical
from hotset.settings import load_settings, ollama_address
from hotset.store import migrate

#: Wall seconds per model second: 131 jobs are some 750 model seconds of work, shown in about a minute.
DEFAULT_SCALE = 0.07
GPU = "gpu0"
#: An interrupted demo hands running jobs back at once.
_STOP_GRACE_S = "0.5"


@dataclass(slots=True)
class World:
    """The running demo. `trace`: the simulated server's event log; None with a real Ollama."""

    home: Path
    fleet: Fleet
    scale: float
    simulated: bool
    trace: Path | None
    flower: str
    client: Client
    board: Board
    accepted: int = 0
    settled: bool = False

    def submit(self, rounds: int) -> list[Job]:
        """All prompts of the rounds, in one transaction, within the first model seconds."""
        jobs = self.client.submit_many(demo_prompts(rounds))
        self.accepted = len(jobs)
        return jobs

    def gpu(self) -> GpuState | None:
        """What the GPU says of itself; None while its worker is silent."""
        return self.board.read().get(GPU)


@contextlib.contextmanager
def open_world(home: Path | None, *, scale: float, keep: bool) -> Iterator[World]:
    """Start everything; at the end stop everything. The folder stays when jobs were left, or when asked to `keep`."""
    from hotset.cli.servers import embedded_servers

    embedded = embedded_servers()
    ollama = _usable_ollama(classic_fleet())
    folder = (home or load_settings().home / f"demo-{os.getpid()}").resolve()
    # Only a folder that was not there before may be removed afterwards.
    ours = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    scale = scale if ollama is None else 1.0
    world: World | None = None
    try:
        with contextlib.ExitStack() as exits:
            note("Starting Postgres, broker and cache ...")
            servers = exits.enter_context(embedded(folder))
            migrate(servers.database_url)
            environ = {
                "HOTSET_HOME": str(folder),
                "HOTSET_DATABASE_URL": servers.database_url,
                "HOTSET_BROKER_URL": servers.broker_url,
                "HOTSET_CACHE_URL": servers.cache_url,
                "HOTSET_SCALE": str(scale),
                "HOTSET_STOP_GRACE_S": _STOP_GRACE_S,
                "HOTSET_GPU": GPU,
            }
            trace = None if ollama else folder / "trace.jsonl"
            if trace is not None:
                port = _free_port()
                words = ["serve", "--simulate", "--gpu", GPU, "--scale", str(scale), "--port", str(port)]
                server = _child(exits, folder, "modelserver", ["hotset.cli", *words, "--log", str(trace)], {})
                server.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/api/version"))
            environ["HOTSET_MODEL_SERVER"] = ollama or f"http://127.0.0.1:{port}"
            words = ["celery", "-A", "hotset_worker", "worker", "-E", "--without-gossip", "--without-mingle"]
            worker = _child(exits, folder, "worker", [*words, "-n", f"{GPU}@%h", "-l", "info"], environ)
            flower_port = _free_port()
            flower = _child(exits, folder, "flower", ["hotset.cli", "flower", "--port", str(flower_port)], environ)
            settings = load_settings(environ)
            client = exits.enter_context(Client(settings=settings))
            broker = exits.enter_context(
                contextlib.closing(connect_redis(settings.broker_url.get_secret_value(), name="broker_url"))
            )
            world = World(
                home=folder,
                fleet=client.fleet,
                scale=scale,
                simulated=ollama is None,
                trace=trace,
                flower=f"http://127.0.0.1:{flower_port}",
                client=client,
                board=Board(broker),
            )
            _say(world, ollama)
            worker.wait_until(lambda: world is not None and world.gpu() is not None)
            flower.check()
            try:
                yield world
            finally:
                # A second Ctrl-C must not leave processes behind.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                note("Stopping what was started ...")
    finally:
        _leave(world, folder, keep or not ours)
        if home is None:
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # .hotset, when there is nothing else in it


def _leave(world: World | None, folder: Path, keep: bool) -> None:
    left = world is not None and world.accepted > 0 and not world.settled
    if not keep and not left:
        shutil.rmtree(folder, ignore_errors=True)
        return
    note(f"Database and logs are in {folder}.")
    if left and world is not None:
        note(
            f"No job is lost: those that had not ended wait there. To go on: export HOTSET_HOME={folder} "
            f"HOTSET_SCALE={world.scale}; hotset up; hotset serve --simulate --scale {world.scale} & hotset worker"
        )


def _say(world: World, ollama: str | None) -> None:
    where = f"the Ollama server at {ollama}" if ollama else f"a {SIMULATED} GPU: its words mean nothing, its times do"
    note(f"One GPU of {world.fleet.gpu(GPU).vram_mb:.0f} MiB, served by {where}. Flower: {world.flower}")


def _usable_ollama(fleet: Fleet) -> str | None:
    """The address at OLLAMA_HOST if a server with all the fleet's models answers there."""
    host = os.environ.get("OLLAMA_HOST", "").strip()
    if not host:
        return None
    try:
        address = ollama_address(host)
        with OllamaServer(address, connect_timeout_s=2.0, answer_timeout_s=5.0) as server:
            missing = {canonical(m) for m in fleet.models} - set(server.info().models)
    except HotsetError as e:
        note(f"OLLAMA_HOST is not used: {e}")
        return None
    if missing:
        note(f"The Ollama server at {address} is not used: it lacks {', '.join(sorted(missing))} (`ollama pull` them).")
        return None
    return address


def _child(
    exits: contextlib.ExitStack, folder: Path, name: str, words: list[str], environ: dict[str, str]
) -> ChildProcess:
    child = ChildProcess(["-m", *words], environ, folder, folder / f"{name}.log")
    exits.callback(child.stop)
    return child


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
