"""Other clients of the same model server, in the middle of our work: jobs still end right, and the board shows what the
server holds, at most 2 s late."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from hotset import State
from hotset.broker import Board
from hotset.client import Job
from hotset.fleet_file import parse_fleet
from hotset.modelserver.serve import serving
from stack import FLEET, Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"
FOREIGN = "llama3.2:3b"
STALE_S = 2.0


@pytest.fixture
def server(stack: Stack) -> Iterator[str]:
    """A model server that has a model more than our fleet knows, and our worker's fleet file."""
    stack.env["HOTSET_SCALE"] = "0.03"
    more = FLEET.replace("queues:\n", f"  '{FOREIGN}': {{{{size_mb: 2000, load_s: 3.0, tokens_per_s: 60}}}}\nqueues:\n")
    gpu = "  - {name: gpu0, vram_mb: 3686, slots: 2"
    with serving(parse_fleet(more.format(gpus=gpu + "}")), "gpu0", scale=0.03, log=stack.trace()) as url:
        stack.fleet_path.write_text(FLEET.format(gpus=f"{gpu}, address: '{url}'}}"))
        yield url


class Watcher:
    """What the board says, again and again; afterwards it is held against the server's own trace."""

    def __init__(self, stack: Stack) -> None:
        self._trace = stack.trace()
        self._redis = redis.Redis.from_url(stack.env["HOTSET_BROKER_URL"], decode_responses=True)
        self._seen: list[tuple[float, frozenset[str]]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.05):
                if "gpu0" in (gpus := Board(self._redis).read()):
                    self._seen.append((time.time(), frozenset(gpus["gpu0"].residents)))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._redis.close()

    def check(self) -> None:
        """Each thing that the board said was true at some moment of the 2 s before."""
        held = _residents_over_time(self._trace)
        assert len(self._seen) > 20
        for at, said in self._seen:
            inside = [models for began, ended, models in held if began <= at and ended >= at - STALE_S]
            assert said in inside, f"the board said {set(said)}; the server held {[set(m) for m in inside]}"


def _residents_over_time(trace: Path) -> list[tuple[float, float, frozenset[str]]]:
    changes: list[tuple[float, frozenset[str]]] = [(0.0, frozenset())]
    for line in trace.read_text().splitlines():
        event = json.loads(line)
        if event["event"] in ("loaded", "evict"):
            at = datetime.fromisoformat(event["at"]).timestamp()
            before = changes[-1][1]
            model = frozenset([event["model"]])
            changes.append((at, before | model if event["event"] == "loaded" else before - model))
    ends = [at for at, _ in changes[1:]] + [float("inf")]
    return [(at, end, models) for (at, models), end in zip(changes, ends, strict=True)]


def _work_among(stack: Stack, disturb: Callable[[httpx.Client], Any], server: str) -> list[Job]:
    """Jobs of three tiers through a worker, while somebody else uses the server for two seconds."""
    client = stack.client()
    stack.worker()
    watcher = Watcher(stack)
    jobs = client.submit_many((name, f"task {i}") for i in range(4) for name in (LIGHT, LIGHT, BALANCED, COMPLEX))
    with watcher.watching(), httpx.Client(base_url=server, timeout=60, trust_env=False) as other:
        eventually(lambda: any(job.status.terminal for job in jobs), within_s=20, message=stack.log)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            disturb(other)
            time.sleep(0.1)
        eventually(lambda: all(job.status.terminal for job in jobs), within_s=60, message=stack.log)
        time.sleep(0.5)
    watcher.check()
    return jobs


def _all_right(stack: Stack, jobs: list[Job]) -> None:
    client = stack.client()
    for job in jobs:
        view = job.view
        assert (view.state, view.failures, view.crashes, view.attempt) == (State.SUCCEEDED, 0, 0, 1), view.error
        assert [row["action"] for row in client.audit(job.id)] == ["accept", "claim", "succeeded"]


def test_alone_nothing_is_loaded_that_was_not_decided(stack: Stack, server: str) -> None:
    jobs = _work_among(stack, lambda _: None, server)
    _all_right(stack, jobs)
    loads = [json.loads(line)["event"] for line in stack.trace().read_text().splitlines()].count("load")
    decided = stack.log().count("GPU gpu0: load ")
    assert loads == decided > 0


def test_another_client_uses_a_model_that_the_fleet_does_not_know(stack: Stack, server: str) -> None:
    answers = []

    def ask(other: httpx.Client) -> None:
        said = other.post("/api/generate", json={"model": FOREIGN, "prompt": "hello", "stream": False})
        answers.append(said.raise_for_status().json()["done"])

    _all_right(stack, _work_among(stack, ask, server))
    assert answers and all(answers)


def test_another_client_evicts_our_models(stack: Stack, server: str) -> None:
    def evict(other: httpx.Client) -> None:
        for row in other.get("/api/ps").json()["models"]:
            other.post("/api/generate", json={"model": row["name"], "keep_alive": 0}).raise_for_status()

    _all_right(stack, _work_among(stack, evict, server))


def test_another_client_reloads_our_model_with_another_context(stack: Stack, server: str) -> None:
    def reload(other: httpx.Client) -> None:
        body = {"model": "tinyllama", "prompt": "hello", "stream": False, "options": {"num_ctx": 2048}}
        other.post("/api/generate", json=body).raise_for_status()

    _all_right(stack, _work_among(stack, reload, server))
