"""What can be made to go wrong on our server: by a request, from the command line, and while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import httpx
import ollama
import pytest

from hotset.errors import UsageError
from hotset.modelserver import create_app
from hotset.modelserver.faults import AT_LOAD, FAULTS
from ollama_bench import DEEPSEEK, QWEN, SMALL, TINY, Bench, Make

BROKE_OFF = "an error was encountered while running the model: "


def official(server: Bench) -> ollama.Client:
    return ollama.Client(host=str(server.http.base_url), timeout=10.0, trust_env=False)


def test_busy(bench: Make) -> None:
    server = bench()
    answer = server.generate(TINY, "hi", options={"hotset_fault": "busy"})
    assert answer.status_code == 503 and answer.json()["error"].startswith("server busy, please try again.")
    assert server.trace() == []


@pytest.mark.ollama(28, 40)
@pytest.mark.parametrize(("fault", "reason"), [("crash", "unexpected EOF"), ("oom", "CUDA error: out of memory")])
def test_an_error_in_mid_stream_is_a_line_and_the_end(bench: Make, fault: str, reason: str) -> None:
    server = bench()
    lines = server.lines(TINY, hotset_fault=fault)
    assert lines[0]["response"].startswith("[simulated]")
    assert lines[-1] == {"error": BROKE_OFF + reason}
    client = official(server)
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.generate(model=TINY, prompt="hi", stream=True, options={"hotset_fault": fault}))  # type: ignore[call-overload]
    client._client.close()
    assert (caught.value.status_code, caught.value.error) == (-1, BROKE_OFF + reason)


def test_out_of_memory_in_a_run_unloads_everything_when_idle(bench: Make) -> None:
    server = bench(scale=0.05)
    server.generate(TINY)
    busy = server.later(server.run, QWEN, 10.0)
    server.wait_for("start", QWEN)
    answer = server.generate(TINY, "hi", options={"hotset_fault": "oom"})
    assert (answer.status_code, answer.json()) == (500, {"error": BROKE_OFF + "CUDA error: out of memory"})
    assert server.resident() == [QWEN], "it still runs"
    assert busy.result().json()["done"]
    server.until(lambda: server.resident() == [])


def test_a_crash_takes_all_runs_of_its_model_along(bench: Make) -> None:
    server = bench(scale=0.05)
    other = server.later(server.run, TINY, 100.0)
    server.wait_for("start", TINY)
    server.generate(TINY, "hi", options={"hotset_fault": "crash"})
    assert other.result().json() == {"error": BROKE_OFF + "unexpected EOF"}
    assert server.run(TINY, 0.1).status_code == 200, "it is loaded again"


def test_a_line_that_is_not_json(bench: Make) -> None:
    server = bench()
    body = {"model": TINY, "prompt": "hi", "options": {"hotset_fault": "nonsense"}}
    with server.http.stream("POST", "/api/generate", json=body) as answer:
        lines = list(answer.iter_lines())
    assert json.loads(lines[0])["done"] is False
    with pytest.raises(ValueError, match="line 1 column"):
        json.loads(lines[-1])
    whole = server.generate(TINY, "hi", options={"hotset_fault": "nonsense"})
    with pytest.raises(ValueError, match="line 1 column"):
        whole.json()


def test_a_slow_client_holds_its_slot(bench: Make) -> None:
    server = bench(scale=0.05, num_parallel=1)
    server.generate(TINY)
    slow = server.later(server.run, TINY, 2.0)
    slow.result()
    began = time.monotonic()
    slow = server.later(
        server.generate, TINY, "hi", options={"hotset_run_s": 2.0, "num_predict": 200, "hotset_fault": "slow_client"}
    )
    server.run(TINY, 0.01)
    assert time.monotonic() - began > 0.15, "a run of 0.1 s, and a pause after each chunk"
    assert slow.result().json()["done"]


def test_each_second_load_dies(bench: Make) -> None:
    server = bench(faults={"load_crash": "1/2"})
    asked = [server.generate(model, "hi").status_code for model in (TINY, DEEPSEEK, TINY, DEEPSEEK, TINY)]
    assert asked == [200, 500, 200, 500, 200], "each evicts the other"
    assert server.http.get("/hotset/faults").json()["faults"] == [
        {"fault": "load_crash", "model": None, "share": "1/2", "seen": 5, "done": 2}
    ]


def test_faults_are_switched_while_it_runs(bench: Make) -> None:
    server = bench()
    assert server.generate(TINY, "hi").status_code == 200
    assert server.switch({f"crash@{TINY}": 1}).status_code == 200
    assert server.generate(TINY, "hi").status_code == 500
    assert server.generate(QWEN, "hi").status_code == 200, "only where they are switched on"
    own = server.generate(TINY, "hi", options={"hotset_fault": "repeat"})
    assert own.json()["done"] is False, "a request's own comes first"
    assert server.switch({}).json() == {"faults": []}
    assert server.generate(TINY, "hi").json()["done"]


def test_the_same_seed_gives_the_same_faults(bench: Make) -> None:
    server = bench(scale=0.0)
    runs = []
    for seed in (1, 1, 2):
        server.switch({"repeat": 0.5}, seed=seed)
        runs.append([server.generate(TINY, "hi").json()["done"] for _ in range(30)])
    assert runs[0] == runs[1] != runs[2]
    assert 3 < sum(runs[0]) < 27


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"faults": {"lod_crash": 1}}, "Did you mean 'load_crash'"),
        ({"faults": {"zzz": 1}}, "The faults are busy, crash"),
        ({"faults": {"stall": 2}}, "Give a probability from 0 to 1, or 1/50"),
        ({"faults": {"stall": True}}, "Give a probability"),
        ({"faults": {"stall": [1]}}, "Give a probability"),
        ({"faults": {"stall": "1/0"}}, "Give a probability"),
        ({"faults": ["stall"]}, "write {"),
        ({"fault": {"stall": 1}}, "write {"),
        ({"seed": "x"}, "write {"),
    ],
)
def test_switches_that_make_no_sense_change_nothing(bench: Make, body: dict[str, Any], says: str) -> None:
    server = bench(faults={"stall@x": 1})
    answer = server.http.post("/hotset/faults", json=body)
    assert answer.status_code == 400 and says in answer.json()["error"]
    assert len(server.http.get("/hotset/faults").json()["faults"]) == 1


def test_a_server_does_not_start_with_a_fault_that_is_none(bench: Make) -> None:
    with pytest.raises(UsageError, match="Did you mean 'stall'"):
        bench(faults={"stal": 1})


def test_faults_are_switched_from_this_machine_only() -> None:
    async def ask(host: str) -> int:
        transport = httpx.ASGITransport(create_app(SMALL, "gpu0"), client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return (await http.post("/hotset/faults", json={})).status_code

    assert [asyncio.run(ask(host)) for host in ("127.0.0.1", "::1", "10.0.0.7")] == [200, 200, 403]


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_fault_leaves_anything_behind(bench: Make, fault: str) -> None:
    """Whatever strikes, the next request is served, and no run or load is left open in the trace."""
    server = bench(load_timeout_s=1.0)
    for stream in (True, False):
        if fault in AT_LOAD:
            server.generate(TINY, keep_alive=0)
        options = {"hotset_fault": fault, "hotset_run_s": 1.0}
        body = {"model": TINY, "prompt": "hi", "stream": stream, "options": options}
        with contextlib.suppress(httpx.HTTPError):
            server.http.post("/api/generate", json=body, timeout=0.3)
        assert server.run(TINY, 0.1).json()["done"]
    server.until(lambda: len(server.events("start")) == len(server.events("finish")))
    assert len(server.events("load")) == len(server.events("evict")) + 1
