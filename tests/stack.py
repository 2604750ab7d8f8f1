"""A live fleet for tests: a simulated model server per GPU in this process, real workers as child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hotset import Client, load_settings
from hotset.fleet_file import read_fleet
from hotset.modelserver.serve import serving

PATIENCE = 3
FLEET = """
gpus:
{gpus}
models:
  tinyllama:         {{size_mb: 800,  load_s: 2.0, tokens_per_s: 100}}
  qwen2.5-coder:7b:  {{size_mb: 2500, load_s: 5.0, tokens_per_s: 38}}
  deepseek-r1:8b:    {{size_mb: 3200, load_s: 6.0, tokens_per_s: 32}}
queues:
  tinyllama: {{model: tinyllama,        tier: light,    deadline_s: 30,  run_s: 2.0}}
  qwen:      {{model: qwen2.5-coder:7b, tier: balanced, deadline_s: 120, run_s: 8.0}}
  deepseek:  {{model: deepseek-r1:8b,   tier: complex,  deadline_s: 600, run_s: 25.0}}
max_wait_s: 900
"""


class Stack:
    """Started by the `stack` fixture; `env` is what its workers and clients run with."""

    def __init__(self, folder: Path, database: str, broker: str, cache: str) -> None:
        self.folder = folder
        self.fleet_path = folder / "fleet.yaml"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HOTSET_", "OLLAMA_"))},
            "HOTSET_HOME": str(folder),
            "HOTSET_DATABASE_URL": database,
            "HOTSET_BROKER_URL": broker,
            "HOTSET_CACHE_URL": cache,
            "HOTSET_FLEET": str(self.fleet_path),
            "HOTSET_SCALE": "0.01",
        }
        self.workers: list[subprocess.Popen[bytes]] = []
        self._exits = contextlib.ExitStack()

    def fleet(self, gpus: int = 1, **server: Any) -> Stack:
        """Model servers for that many GPUs; `server` are arguments of the simulation."""
        names = [f"gpu{i}" for i in range(gpus)]
        self._write(dict.fromkeys(names, ""))
        fleet = read_fleet(self.fleet_path)
        addresses = {}
        for name in names:
            how = {"scale": float(self.env["HOTSET_SCALE"]), "log": self.trace(name), **server}
            url = self._exits.enter_context(serving(fleet, name, **how))
            addresses[name] = f", address: '{url}'"
        self._write(addresses)
        return self

    def _write(self, gpus: dict[str, str]) -> None:
        lines = [f"  - {{name: {name}, vram_mb: 3686, slots: 2{address}}}" for name, address in gpus.items()]
        self.fleet_path.write_text(FLEET.format(gpus="\n".join(lines)))

    def trace(self, gpu: str = "gpu0") -> Path:
        return self.folder / f"{gpu}.jsonl"

    def worker(self, gpu: str = "gpu0", **env: str) -> subprocess.Popen[bytes]:
        """A GPU worker; it is connected a second or two later."""
        log = (self.folder / f"worker-{gpu}.log").open("ab")
        command = [sys.executable, "-m", "celery", "-A", "hotset_worker", "worker", "-l", "info"]
        command += ["--without-gossip", "--without-mingle"]
        process = subprocess.Popen(
            command,
            env={**self.env, "HOTSET_GPU": gpu, **env},
            cwd=self.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.workers.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGKILL) -> None:
        """End the worker's process group and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait(timeout=40)
        self.workers.remove(process)

    def client(self, **overrides: Any) -> Client:
        """Closed with the stack."""
        client = Client(settings=load_settings(self.env, **overrides))
        return self._exits.enter_context(client)

    def log(self, gpu: str = "gpu0") -> str:
        path = self.folder / f"worker-{gpu}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        for process in list(self.workers):
            self.kill(process)
        self._exits.close()


def eventually(what: Callable[[], bool], *, within_s: float, message: Callable[[], str] = lambda: "") -> None:
    """Wait until it holds; AssertionError with the message when it does not in time.

    `within_s` is what it takes on a machine that is busy, not broken; a slower one gets PATIENCE times that.
    """
    until = time.monotonic() + PATIENCE * within_s
    while not what():
        assert time.monotonic() < until, message() or "it did not come about in time"
        time.sleep(0.02)


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    try:
        yield stack
    finally:
        stack.close()
