"""What hotset relies on in an Ollama server, point by point; our own server and a real Ollama must both pass.

Set HOTSET_TEST_OLLAMA to the base URL of a real server to run it there too, and HOTSET_TEST_OLLAMA_MODEL to a small
model that it has (default tinyllama). Numbers in names are those of docs/model-server.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
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
    models={"tinyllama": Model("tinyllama", 800, 2.0), "deepseek-r1:8b": Model("deepseek-r1:8b", 3200, 6.0)},
    queues={"tinyllama": Queue("tinyllama", "tinyllama", "light", 30.0, 2.0)},
)


@dataclass(frozen=True)
class Server:
    http: httpx.Client
    official: ollama.Client
    model: str

    def generate(self, **body: Any) -> httpx.Response:
        return self.http.post("/api/generate", json={"model": self.model, **body})

    def resident(self) -> set[str]:
        return {canonical(row["name"]) for row in self.http.get("/api/ps").json()["models"]}


OLLAMA = os.environ.get("HOTSET_TEST_OLLAMA", "")


@pytest.fixture(params=["simulated", "real"] if OLLAMA else ["simulated"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        if request.param == "simulated":
            url, model = stack.enter_context(serving(FLEET, "gpu0", scale=0.01)), "tinyllama"
        else:
            url, model = OLLAMA, os.environ.get("HOTSET_TEST_OLLAMA_MODEL", "tinyllama")
        http = stack.enter_context(httpx.Client(base_url=url, timeout=120.0, trust_env=False, verify=False))
        official = ollama.Client(host=url, timeout=120.0, trust_env=False, verify=False)
        stack.callback(official._client.close)
        yield Server(http, official, canonical(model))


def eventually_gone(server: Server, timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while server.model in server.resident():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


SHORT = {"num_predict": 8}


@pytest.mark.skipif(not OLLAMA, reason="HOTSET_TEST_OLLAMA is not set: only our own server is asked")
def test_a_real_ollama_is_asked_too() -> None:
    """One line in the report instead of one for each test."""


def test_26_an_empty_prompt_loads_and_answers_with_one_object(server: Server) -> None:
    answer = server.generate(keep_alive=-1)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["done"], said["done_reason"], said["response"]) == (True, "load", "")
    assert server.model in server.resident()


def test_26_a_chat_without_messages_loads(server: Server) -> None:
    said = server.http.post("/api/chat", json={"model": server.model, "messages": []}).json()
    assert (said["done_reason"], said["message"]["content"]) == ("load", "")


def test_25_keep_alive_0_without_a_prompt_unloads(server: Server) -> None:
    server.generate(keep_alive=-1)
    said = server.generate(keep_alive=0).json()
    assert (said["done"], said["done_reason"]) == (True, "unload")
    assert eventually_gone(server)


def test_25_keep_alive_0_with_a_prompt_unloads_when_idle(server: Server) -> None:
    assert server.generate(prompt="hi", stream=False, options=SHORT, keep_alive=0).json()["done"] is True
    assert eventually_gone(server)


@pytest.mark.parametrize("keep_alive", [300, "5m", "1h30m", -1, "-1s"])
def test_23_keep_alive_is_seconds_or_a_duration(server: Server, keep_alive: object) -> None:
    assert server.generate(keep_alive=keep_alive).status_code == 200


def test_23_a_number_without_a_unit_in_a_string_is_refused(server: Server) -> None:
    answer = server.generate(keep_alive="300")
    assert answer.status_code == 400
    assert "missing unit in duration" in answer.json()["error"]


def test_27_29_a_stream_is_one_object_a_line_and_the_last_has_the_figures(server: Server) -> None:
    with server.http.stream(
        "POST", "/api/generate", json={"model": server.model, "prompt": "Count to ten.", "options": SHORT}
    ) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert all({"model", "created_at", "done"} <= line.keys() and line["model"] == server.model for line in lines)
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert last["done_reason"] in ("stop", "length")
    assert 0 < last["eval_count"] <= SHORT["num_predict"]
    for figure in ("total_duration", "load_duration", "prompt_eval_count", "eval_duration"):
        assert isinstance(last[figure], int) and last[figure] > 0
    assert "".join(line["response"] for line in lines)


def test_27_without_streaming_it_is_one_object(server: Server) -> None:
    answer = server.generate(prompt="Count to ten.", stream=False, options=SHORT)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    said = answer.json()
    assert said["done"] and said["response"] and said["eval_count"] > 0


def test_29_num_predict_ends_with_length(server: Server) -> None:
    said = server.generate(prompt="Write a long story.", stream=False, options={"num_predict": 3}).json()
    assert (said["done_reason"], said["eval_count"]) == ("length", 3)


def test_29_chat_says_messages(server: Server) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    with server.http.stream(
        "POST", "/api/chat", json={"model": server.model, "messages": messages, "options": SHORT}
    ) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert lines[-1]["done"] and "".join(line["message"]["content"] for line in lines)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed", "/api/show"])
def test_33_an_unknown_model_is_404(server: Server, path: str) -> None:
    body = {"model": "no-such-model", "prompt": "x", "messages": [{"role": "user", "content": "x"}], "input": "x"}
    answer = server.http.post(path, json=body)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("model 'no-such-model")


def test_33_a_chat_needs_a_model(server: Server) -> None:
    answer = server.http.post("/api/chat", json={"messages": []})
    assert (answer.status_code, answer.json()) == (400, {"error": "model is required"})


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed"])
def test_33_a_request_needs_a_body(server: Server, path: str) -> None:
    answer = server.http.post(path)
    assert (answer.status_code, answer.json()) == (400, {"error": "missing request body"})


def test_34_an_option_of_a_wrong_type_is_500(server: Server) -> None:
    answer = server.generate(prompt="hi", options={"num_ctx": "many"})
    assert (answer.status_code, answer.json()) == (500, {"error": 'option "num_ctx" must be of type integer'})


def test_34_unknown_options_are_ignored(server: Server) -> None:
    options = {**SHORT, "no_such_option": 1}
    assert server.generate(prompt="hi", stream=False, options=options).status_code == 200


def test_35_think_on_a_model_that_cannot_is_400(server: Server) -> None:
    answer = server.generate(prompt="hi", think=True)
    assert answer.status_code == 400
    assert answer.json()["error"] == f'"{server.model}" does not support thinking'


def test_36_format_json_gives_an_object(server: Server) -> None:
    said = server.generate(prompt="An object in JSON.", format="json", stream=False, options={"num_predict": 400})
    assert isinstance(json.loads(said.json()["response"]), dict)


def test_36_a_schema_is_kept(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "kind": {"enum": ["cat", "dog"]}},
        "required": ["age", "kind"],
    }
    said = server.generate(prompt="A pet.", format=schema, stream=False, options={"num_predict": 400}).json()
    pet = json.loads(said["response"])
    assert isinstance(pet["age"], int) and pet["kind"] in ("cat", "dog")


def test_37_embeddings_are_normalised(server: Server) -> None:
    said = server.http.post("/api/embed", json={"model": server.model, "input": ["one thing", "another"]}).json()
    assert len(said["embeddings"]) == 2
    for vector in said["embeddings"]:
        assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-3)
    assert said["prompt_eval_count"] > 0


def test_37_an_input_too_long_is_400_when_it_may_not_be_cut(server: Server) -> None:
    body = {"model": server.model, "input": "many words " * 60_000, "truncate": False}
    answer = server.http.post("/api/embed", json=body)
    assert answer.status_code == 400
    assert "input length exceeds the context length" in answer.json()["error"]


def test_38_ps_lists_what_is_loaded(server: Server) -> None:
    server.generate(keep_alive=-1)
    row = next(row for row in server.http.get("/api/ps").json()["models"] if canonical(row["name"]) == server.model)
    assert {"name", "model", "size", "digest", "details", "expires_at", "size_vram"} <= row.keys()
    assert ":" in row["name"], "Ollama writes the tag even where it is `latest`"
    assert 0 <= row["size_vram"] <= row["size"]


def test_39_the_small_routes(server: Server) -> None:
    assert server.http.get("/").text == "Ollama is running"
    assert server.http.head("/").status_code == 200
    assert server.http.get("/api/version").json()["version"]
    row = server.http.get("/api/tags").json()["models"][0]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= row.keys()
    card = server.http.post("/api/show", json={"model": server.model}).json()
    assert {"modelfile", "template", "details", "model_info", "capabilities"} <= card.keys()


def test_30_a_client_that_leaves_frees_the_slot(server: Server) -> None:
    server.generate(keep_alive=-1)
    long = {"model": server.model, "prompt": "Go on and on.", "options": {"num_predict": 4000, "hotset_run_s": 1e4}}
    for _ in range(4):  # more than any slots
        with server.http.stream("POST", "/api/generate", json=long) as answer:
            next(answer.iter_lines())
    assert server.generate(prompt="hi", stream=False, options=SHORT).json()["done"]


# The official client, as users' agents have it.


def test_40_official_client_streams(server: Server) -> None:
    parts = list(server.official.generate(model=server.model, prompt="Hello", stream=True, options=SHORT))
    assert parts[-1].done and parts[-1].eval_count
    assert "".join(part.response for part in parts)


def test_42_official_client_chats(server: Server) -> None:
    said = server.official.chat(
        model=server.model, messages=[{"role": "user", "content": "Hello"}], options=SHORT, keep_alive=60
    )
    assert said.message.content and said.done_reason in ("stop", "length")


def test_42_official_client_unloads_with_0(server: Server) -> None:
    server.official.generate(model=server.model, keep_alive=-1)
    assert server.official.generate(model=server.model, keep_alive=0).done_reason == "unload"
    assert eventually_gone(server)


def test_40_official_client_raises_response_errors(server: Server) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        server.official.generate(model="no-such-model", prompt="x")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as caught:
        list(server.official.generate(model="no-such-model", prompt="x", stream=True))
    assert caught.value.status_code == 404


def test_39_official_client_lists_shows_and_embeds(server: Server) -> None:
    server.official.generate(model=server.model, keep_alive=-1)
    assert server.model in {canonical(row.model or "") for row in server.official.ps().models}
    assert server.model in {canonical(row.model or "") for row in server.official.list().models}
    assert server.official.show(server.model).details is not None
    assert len(server.official.embed(model=server.model, input=["a", "b"]).embeddings) == 2


def test_42_closing_the_official_clients_generator_cancels(server: Server) -> None:
    options = {"num_predict": 4000, "hotset_run_s": 1e4}
    for _ in range(4):
        stream = server.official.generate(model=server.model, prompt="On and on.", stream=True, options=options)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
    assert server.generate(prompt="hi", stream=False, options=SHORT).json()["done"]
