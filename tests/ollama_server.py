"""A server for the contract suite, our own or a real Ollama, and what its tests ask of it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import ollama
import pytest

from hotset.fleet import Fleet, Gpu, Model, Queue
from hotset.models import canonical
from hotset.modelserver import serving

FLEET = Fleet(
    gpus=(Gpu("gpu0", vram_mb=3686, slots=2),),
    models={
        "tinyllama": Model("tinyllama", 800, 20.0),
        "qwen2.5-coder:7b": Model("qwen2.5-coder:7b", 2500, 20.0),
        "deepseek-r1:8b": Model("deepseek-r1:8b", 3200, 6.0),
        "all-minilm": Model("all-minilm", 100, 1.0),
    },
    queues={"tinyllama": Queue("tinyllama", "tinyllama", "light", 30.0, 2.0)},
)
ROLES = ("small", "second", "thinking", "embedding")


@dataclass(frozen=True)
class Server:
    """`scale`: wall seconds of a second of its keep_alive."""

    http: httpx.Client
    official: ollama.Client
    models: dict[str, str]
    scale: float

    @property
    def model(self) -> str:
        return self.models["small"]

    def the(self, role: str) -> str:
        """The model of that role; skips the test where MODELS names none."""
        if not self.models.get(role):
            pytest.skip(f"MODELS names no {role} model")
        return self.models[role]

    def generate(self, **body: Any) -> httpx.Response:
        return self.http.post("/api/generate", json={"model": self.model, **body})

    def row(self, model: str = "") -> dict[str, Any]:
        """Its row of /api/ps."""
        rows = self.http.get("/api/ps").json()["models"]
        return next(row for row in rows if canonical(row["name"]) == (model or self.model))

    def unload(self, model: str = "") -> None:
        model = model or self.model
        if model in self.resident():
            path = "/api/embed" if model == self.models.get("embedding") else "/api/generate"
            self.http.post(path, json={"model": model, "keep_alive": 0, "input": []})
            until(lambda: model not in self.resident())

    def leave_after(self, wait_s: float, body: dict[str, Any]) -> None:
        """Send a request for words and hang up."""
        raw = json.dumps(body).encode()
        head = f"POST /api/generate HTTP/1.1\r\nHost: {self.http.base_url.host}\r\nContent-Length: {len(raw)}\r\n\r\n"
        with socket.create_connection((self.http.base_url.host, self.http.base_url.port or 80)) as connection:
            connection.sendall(head.encode() + raw)
            time.sleep(wait_s)

    def resident(self) -> set[str]:
        return {canonical(row["name"]) for row in self.http.get("/api/ps").json()["models"]}


OLLAMA = os.environ.get("HOTSET_TEST_OLLAMA", "")
SHORT = {"num_predict": 8}


def contract_server(kind: str) -> Iterator[Server]:
    """Ours for "simulated"; for "real" the one at HOTSET_TEST_OLLAMA."""
    with contextlib.ExitStack() as stack:
        if kind == "simulated":
            url, scale = stack.enter_context(serving(FLEET, "gpu0", scale=0.01)), 0.01
            models = dict(zip(ROLES, FLEET.models, strict=True))
        else:
            url, scale = OLLAMA, 1.0
            names = os.environ.get("HOTSET_TEST_OLLAMA_MODELS", "tinyllama").split(",")
            models = {role: canonical(name.strip()) for role, name in zip(ROLES, names, strict=False) if name.strip()}
        http = stack.enter_context(httpx.Client(base_url=url, timeout=120.0, trust_env=False, verify=False))
        official = ollama.Client(host=url, timeout=120.0, trust_env=False, verify=False)
        stack.callback(official._client.close)
        server = Server(http, official, models, scale)
        missing = set(models.values()) - {canonical(row["name"]) for row in http.get("/api/tags").json()["models"]}
        if missing:
            pytest.fail(f"The server has no {', '.join(missing)}: pull them, or name others in MODELS.", pytrace=False)
        if strangers := server.resident() - set(models.values()):
            pytest.fail(f"{', '.join(strangers)} is loaded, which MODELS does not name: not disturbed.", pytrace=False)
        yield server
        for name in models.values():
            server.unload(name)


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
