"""Whatever is sent, and however clients behave, our server goes on serving and keeps nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.fleet import Fleet, Gpu, Model
from hotset.modelserver import create_app
from hotset.modelserver.faults import FAULTS, IN_A_RUN
from hotset.modelserver.profiles import LogNormal, profile_of
from ollama_bench import CLASSIC, TINY, Bench, Make, benches

# Statuses and beginnings of errors that Ollama has; anything else is ours, and wrong.
OLLAMAS_500 = ('option "', "invalid format", "llama-server ", "an error was encountered", "pull model manifest")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(2**63), 1e308, 5e-324, "", "\ud800", "5m", TINY, "all-minilm", "json", "high", "\0"])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("num_ctx", "num_predict", "num_gpu", "seed", "stop", "temperature", "use_mmap")
OURS = ("hotset_run_s", "hotset_fault", "hotset_job")
VALUES = {name: JSON | st.integers(0, 50) for name in (*NAMES, *OURS)}
OPTIONS = st.fixed_dictionaries({}, optional={**VALUES, "hotset_fault": st.sampled_from(sorted(FAULTS)) | JSON})
KEYWORDS = (
    "type",
    "properties",
    "items",
    "enum",
    "const",
    "$ref",
    "anyOf",
    "allOf",
    "minItems",
    "maxLength",
    "minimum",
)
SCHEMA = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYWORDS, JSON))
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]), "content": st.text(max_size=20)} | {}),
    max_size=3,
)
TOOL = st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": st.text(max_size=5), "parameters": SCHEMA})})
FIELDS = {
    "prompt": st.text(max_size=30) | JSON,
    "messages": MESSAGES | JSON,
    "input": st.lists(st.text(max_size=10), max_size=4) | JSON,
    "options": OPTIONS | JSON,
    "keep_alive": JSON,
    "stream": st.booleans() | JSON,
    "think": JSON,
    "format": SCHEMA | JSON,
    "tools": st.lists(TOOL, max_size=2) | JSON,
    "raw": st.booleans(),
    "suffix": JSON,
    "context": JSON,
    "dimensions": JSON,
    "truncate": JSON,
    "faults": JSON,
    "seed": JSON,
}
BODY = st.fixed_dictionaries({"model": st.sampled_from([TINY, "all-minilm", "deepseek-r1:8b"]) | JSON}, optional=FIELDS)
BREAKING = IN_A_RUN - {"slow_client"}
PATHS = ["generate", "chat", "embed", "embeddings", "show", "pull"]
FLEET = replace(CLASSIC, models={**CLASSIC.models, "all-minilm": Model("all-minilm", 50, 0.1)})


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[httpx.Client]:
    from hotset.modelserver import serving

    how: Any = {"scale": 0.0, "load_timeout_s": 0.0}
    with (
        serving(FLEET, "gpu0", **how) as url,
        httpx.Client(base_url=url, timeout=10.0, trust_env=False, verify=False) as http,
    ):
        yield http


def check(answer: httpx.Response) -> None:
    if answer.status_code == 500:
        assert answer.json()["error"].startswith(OLLAMAS_500), answer.text
    else:
        assert answer.status_code in (200, 400, 403, 404, 503), answer.text
    if answer.status_code != 200:
        assert isinstance(answer.json()["error"], str)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(["/hotset/faults", *(f"/api/{path}" for path in PATHS)]), body=BODY)
def test_any_body_is_answered_or_refused(fuzzed: httpx.Client, path: str, body: dict[str, Any]) -> None:
    options = body.get("options")
    breaks_off = isinstance(options, dict) and options.get("hotset_fault") in sorted(BREAKING)
    # Only what was asked for may break an answer off, or let it hang.
    with contextlib.suppress(*([httpx.HTTPError, ValueError] if breaks_off else [])):
        raw = json.dumps(body).encode()
        check(fuzzed.post(path, content=raw, timeout=0.1 if breaks_off else 10.0))
    check(fuzzed.post("/hotset/faults", json={}))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), raw=st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0d8eNa', max_size=30))
def test_any_bytes_are_answered_or_refused(fuzzed: httpx.Client, path: str, raw: bytes | str) -> None:
    check(fuzzed.post(f"/api/{path}", content=raw))


def test_afterwards_it_is_as_it_was(fuzzed: httpx.Client) -> None:
    """Runs after the two above: whatever they did, a request is served at once."""
    for model in (TINY, "deepseek-r1:8b"):
        said = fuzzed.post("/api/generate", json={"model": model, "prompt": "hi", "stream": False}).json()
        assert said["done"]


LARGE = {"type": "array", "minItems": 200, "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"const": "x" * 500_000}}}
BRANCHING = {"properties": {name * 300_000: {"$ref": "#"} for name in "yz"}}


@pytest.mark.parametrize(
    "body",
    [
        {"format": LARGE},
        {"format": BRANCHING},
        {"options": {"num_ctx": 10**9, "num_predict": 10**15, "hotset_run_s": 1e9}},
    ],
    ids=["large", "branching", "long"],
)
def test_no_request_makes_it_write_for_ever(bench: Make, body: dict[str, Any]) -> None:
    server = bench(scale=0.0)
    assert len(server.generate(TINY, "hi", **body).content) < 5_000_000


def test_inputs_and_stops_are_bounded(bench: Make) -> None:
    server = bench(scale=0.0)
    assert server.http.post("/api/embed", json={"model": TINY, "input": [""] * 2049}).status_code == 400
    assert server.generate(TINY, "hi", options={"stop": ["a"] * 65}).status_code == 400
    assert server.generate(TINY, "hi", options={"stop": ["a" * 1001]}).status_code == 400


def test_a_hundred_streams_at_once(bench: Make) -> None:
    server = bench(scale=0.01, num_parallel=100)
    server.generate(TINY)
    together = threading.Barrier(101)

    def hold(number: int) -> None:
        body = {"model": TINY, "prompt": f"prompt {number}", "options": {"hotset_run_s": 1e5}}
        with server.http.stream("POST", "/api/generate", json=body) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["response"].startswith("[simulated]")
            together.wait(30)
            assert json.loads(next(lines))["done"] is False

    with ThreadPoolExecutor(100) as pool:
        held = [pool.submit(hold, number) for number in range(100)]
        together.wait(30)
        assert (len(server.events("start")), len(server.events("finish"))) == (100, 0)
        for one in held:
            one.result()
        answers = list(pool.map(lambda i: server.lines(TINY, f"prompt {i}", hotset_run_s=5.0), range(100)))
    assert all(lines[-1]["done"] for lines in answers), "and all slots are free again"


def stalled_reader(server: Bench, body: dict[str, Any]) -> socket.socket:
    """A client that asks and then reads nothing."""
    raw = json.dumps(body).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((server.http.base_url.host, server.http.base_url.port or 0))
    connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
    return connection


ENDLESS = {"model": TINY, "prompt": "x", "options": {"num_ctx": 2_000_000, "hotset_run_s": 1e6}}  # some 100 MB
HUGE_CONTEXT = {TINY: replace(profile_of(CLASSIC.models[TINY]), trained_context=2_000_000)}


@pytest.mark.parametrize("leaves", [True, False])
def test_who_reads_nothing_holds_up_only_itself(bench: Make, leaves: bool) -> None:
    """Its answer waits, so nothing is piled up for it; its slot is free when it leaves, or when patience ends."""
    server = bench(scale=0.0, num_parallel=2, profiles=HUGE_CONTEXT, patience_s=60.0 if leaves else 0.5)
    slow = stalled_reader(server, ENDLESS)
    server.wait_for("start", TINY)
    time.sleep(0.2)
    same = {"num_ctx": 2_000_000, "num_predict": 2}
    for _ in range(20):
        assert server.generate(TINY, "hi", options=same).json()["done"]
    if leaves:
        assert len(server.events("start")) == len(server.events("finish")) + 1, "the answer waits for its reader"
        slow.close()
    server.until(lambda: len(server.events("start")) == len(server.events("finish")))
    outcomes = [line["outcome"] for line in server.trace() if line["event"] == "finish"]
    assert sorted(outcomes) == ["cancelled"] + ["succeeded"] * 20
    slow.close()


def test_it_ends_although_somebody_reads_nothing(tmp_path: Path) -> None:
    """What was written for a reader who never comes is dropped: the program would otherwise never end."""
    for make in benches(tmp_path):
        server = make(scale=0.0, profiles=HUGE_CONTEXT, patience_s=3600.0)
        slow = stalled_reader(server, ENDLESS)
        server.wait_for("start", TINY)
        time.sleep(0.2)  # so that its buffers fill
    with pytest.raises(httpx.TransportError):
        httpx.get(server.http.base_url.join("/api/version"), trust_env=False)
    slow.close()


def test_who_reads_slowly_gets_everything(bench: Make) -> None:
    server = bench(scale=0.0, patience_s=0.5)
    body = {"model": TINY, "prompt": "x", "options": {"num_predict": 30_000, "hotset_run_s": 1e6}}
    with server.http.stream("POST", "/api/generate", json=body) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(json.loads(line))
            time.sleep(0.02)
    assert lines[-1]["done"] and lines[-1]["eval_count"] == 30_000


@pytest.mark.parametrize("phase", ["body", "queue", "load", "turn", "run"])
def test_a_client_may_leave_in_any_phase(bench: Make, phase: str) -> None:
    server = bench(scale=0.02, num_parallel=1)
    long = {"model": TINY, "prompt": "x", "options": {"hotset_run_s": 1e4}}
    if phase == "body":
        with socket.create_connection((server.http.base_url.host, server.http.base_url.port or 0)) as connection:
            connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            time.sleep(0.02)
    elif phase == "queue":
        blocker = server.later(server.generate, "deepseek-r1:8b")
        server.wait_for("load", "deepseek-r1:8b")
        server.leave_while(lambda: time.sleep(0.03) is None, long)
        blocker.result()
    elif phase == "load":
        server.leave_while(lambda: ("load", TINY) in server.events(), long)
    else:
        server.generate(TINY)
        if phase == "turn":
            blocker = server.later(server.run, TINY, 10.0)
            server.wait_for("start", TINY)
            server.leave_while(lambda: time.sleep(0.03) is None, long)
            blocker.result()
        else:
            server.leave_while(lambda: ("start", TINY) in server.events(), long)
    assert server.run(TINY, 0.1).json()["done"]
    server.until(lambda: len(server.events("start")) == len(server.events("finish")))


def test_nothing_is_left_after_2000_requests() -> None:
    """No task and no seat: the same application, in this loop, so that its tasks can be counted."""
    fleet = Fleet((Gpu("gpu0", 1000),), {"m": Model("m", 800, 0.0), "n": Model("n", 800, 0.0)}, {})
    app = create_app(fleet, "gpu0", scale=0.0, profiles={"m": profile_of(fleet.models["m"], LogNormal(20))})

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        fault = {5: "crash", 7: "repeat", 11: "nonsense", 13: "oom", 17: "load_crash"}.get(number % 20)
        body = {
            "model": "mn"[number % 50 == 0],
            "prompt": f"prompt {number}",
            "stream": number % 2 == 0,
            "options": {} if fault is None else {"hotset_fault": fault},
        }
        await http.post("/api/generate", json=body)

    async def main() -> tuple[int, int, list[Any]]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http,
        ):
            await ask(http, 1)
            before = len(asyncio.all_tasks())
            for batch in range(100):
                await asyncio.gather(*(ask(http, batch * 20 + i) for i in range(20)))
            await asyncio.sleep(0.05)
            after = len(asyncio.all_tasks())
            for model in "mn":
                await http.post("/api/generate", json={"model": model, "keep_alive": 0})
            await asyncio.sleep(0.05)
            return before, after, (await http.get("/api/ps")).json()["models"]

    before, after, resident = asyncio.run(main())
    assert after == before
    assert resident == [], "no seat is held: what was asked to go when idle has gone"
