"""Our own model server, its clients in threads and its trace."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from hotset.fleet import Fleet, Gpu, Model, Queue
from hotset.modelserver import serving

TINY, QWEN, DEEPSEEK = "tinyllama", "qwen2.5-coder:7b", "deepseek-r1:8b"
CLASSIC = Fleet(
    gpus=(Gpu("gpu0", vram_mb=3686, slots=2),),
    models={
        TINY: Model(TINY, 800, 2.0),
        QWEN: Model(QWEN, 2500, 5.0),
        DEEPSEEK: Model(DEEPSEEK, 3200, 6.0),
        "huge": Model("huge", 8000, 6.0),
    },
    queues={
        "tinyllama": Queue("tinyllama", TINY, "light", 30.0, 2.0),
        "deepseek": Queue("deepseek", DEEPSEEK, "complex", 600.0, 25.0),
    },
)
SMALL = Fleet(gpus=(Gpu("gpu0", vram_mb=2500),), models={n: Model(n, 1000, 1.0) for n in "abcd"}, queues={})


class Bench:
    """A running server, clients in threads, and the trace so far."""

    def __init__(self, url: str, trace: Path, pool: ThreadPoolExecutor) -> None:
        self.http = httpx.Client(base_url=url, timeout=20.0, trust_env=False, verify=False)
        self._trace = trace
        self._pool = pool

    def generate(self, model: str, prompt: str = "", **body: Any) -> httpx.Response:
        return self.http.post("/api/generate", json={"model": model, "prompt": prompt, "stream": False, **body})

    def run(self, model: str, run_s: float, **body: Any) -> httpx.Response:
        """A request that takes so many model seconds."""
        return self.generate(model, "work", options={"hotset_run_s": run_s}, **body)

    def later(self, do: Callable[..., httpx.Response], *args: Any, **kwargs: Any) -> Future[httpx.Response]:
        future = self._pool.submit(do, *args, **kwargs)
        time.sleep(0.015)  # so that requests arrive in the order in which they are written down
        return future

    def trace(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._trace.read_text().splitlines()]

    def events(self, *names: str) -> list[tuple[str, str]]:
        return [(line["event"], line["model"]) for line in self.trace() if not names or line["event"] in names]

    def wait_for(self, event: str, model: str, times: int = 1) -> None:
        self.until(lambda: self.events().count((event, model)) >= times)

    def resident(self) -> list[str]:
        """By name: /api/ps has the longest to stay first, to the second."""
        names = [row["name"] for row in self.http.get("/api/ps").json()["models"]]
        return sorted(name.removesuffix(":latest") for name in names)

    def lines(self, model: str, prompt: str = "hi", **options: Any) -> list[dict[str, Any]]:
        """A streamed answer, whole."""
        body = {"model": model, "prompt": prompt, "options": options}
        with self.http.stream("POST", "/api/generate", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            return [json.loads(line) for line in answer.iter_lines()]

    def switch(self, faults: dict[str, Any], **more: Any) -> httpx.Response:
        """What goes wrong on its own from now on."""
        return self.http.post("/hotset/faults", json={"faults": faults, **more})

    def leave_while(self, condition: Callable[[], bool], body: dict[str, Any]) -> None:
        """Send a request and hang up once the condition holds."""
        raw = json.dumps(body).encode()
        head = f"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
        with socket.create_connection((self.http.base_url.host, self.http.base_url.port or 0)) as connection:
            connection.sendall(head + raw)
            self.until(condition)

    @staticmethod
    def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.003)


Make = Callable[..., Bench]


def benches(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(16))

        def make(fleet: Fleet = CLASSIC, scale: float = 0.02, **how: Any) -> Bench:
            trace = tmp_path / "trace.jsonl"
            url = stack.enter_context(serving(fleet, "gpu0", scale=scale, log=trace, **how))
            made = Bench(url, trace, pool)
            stack.callback(made.http.close)
            return made

        yield make
