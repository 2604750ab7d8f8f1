"""The official Python client, as users' programs have it, against our server and a real one."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx
import ollama
import pytest

from hotset.models import canonical
from ollama_server import SHORT, Server, until

LONG = {"num_predict": 4000, "hotset_run_s": 1e4}


class Recorder(httpx.HTTPTransport):
    """Sends requests and keeps their bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(json.loads(request.read()))
        return super().handle_request(request)


@pytest.mark.ollama(29, 40)
def test_it_streams(server: Server) -> None:
    parts = list(server.official.generate(model=server.model, prompt="Hello", stream=True, options=SHORT))
    assert parts[-1].done and parts[-1].eval_count
    assert "".join(part.response for part in parts)


@pytest.mark.ollama(29)
def test_it_streams_a_chat(server: Server) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    parts = list(server.official.chat(model=server.model, messages=messages, stream=True, options=SHORT))
    assert parts[-1].done and "".join(part.message.content or "" for part in parts)


@pytest.mark.ollama(40)
def test_it_has_no_timeout_of_its_own() -> None:
    assert ollama.Client(trust_env=False)._client.timeout == httpx.Timeout(None)


@pytest.mark.ollama(40)
def test_an_error_has_its_words_and_status(server: Server) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as caught:
            answer = server.official.generate(model="no-such-model", prompt="x", stream=stream)
            list(answer)
        assert caught.value.status_code == 404
        assert caught.value.error == "model 'no-such-model' not found"


@pytest.mark.ollama(41)
def test_a_refused_connection() -> None:
    with socket.socket() as bound:  # bound and not listening
        bound.bind(("127.0.0.1", 0))
        client = ollama.Client(host=f"http://127.0.0.1:{bound.getsockname()[1]}", trust_env=False)
        with pytest.raises(ConnectionError):
            client.generate(model="m", prompt="x")
        with pytest.raises(httpx.ConnectError):
            list(client.generate(model="m", prompt="x", stream=True))
        client._client.close()


@pytest.mark.ollama(41)
def test_a_timeout_is_raw(server: Server) -> None:
    host = str(server.http.base_url)
    server.generate(keep_alive=-1)
    client = ollama.Client(host=host, timeout=0.3, trust_env=False)
    options = {**LONG, "hotset_fault": "hang"}
    with pytest.raises(httpx.ReadTimeout):
        client.generate(model=server.model, prompt="Write a very long story.", options=options)
    client._client.close()


@pytest.mark.ollama(42)
def test_what_it_sends(server: Server) -> None:
    recorder = Recorder()
    client = ollama.Client(host=str(server.http.base_url), timeout=120.0, transport=recorder)
    messages = [{"role": "user", "content": "Hello"}]
    client.chat(model=server.model, messages=messages, options=SHORT)
    client.generate(model=server.model, keep_alive=0)
    client._client.close()
    chat, unload = recorder.sent
    assert (chat["stream"], chat["tools"]) == (False, [])
    assert unload["stream"] is False and unload["keep_alive"] == 0.0 and isinstance(unload["keep_alive"], float)
    until(lambda: server.model not in server.resident())


@pytest.mark.ollama(42)
def test_closing_its_generator_cancels(server: Server) -> None:
    for _ in range(4):
        stream = server.official.generate(model=server.model, prompt="On and on.", stream=True, options=LONG)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
    assert server.generate(prompt="hi", stream=False, options=SHORT).json()["done"]


@pytest.mark.ollama(25, 26)
def test_it_loads_and_unloads(server: Server) -> None:
    assert server.official.generate(model=server.model, keep_alive=-1).done_reason == "load"
    assert server.official.generate(model=server.model, keep_alive=0).done_reason == "unload"
    until(lambda: server.model not in server.resident())


@pytest.mark.ollama(37, 38, 39)
def test_it_lists_shows_and_embeds(server: Server) -> None:
    server.official.generate(model=server.model, keep_alive=-1)
    assert server.model in {canonical(row.model or "") for row in server.official.ps().models}
    assert server.model in {canonical(row.model or "") for row in server.official.list().models}
    shown = server.official.show(server.model)
    assert shown.details is not None and "completion" in (shown.capabilities or [])
    assert len(server.official.embed(model=server.model, input=["a", "b"]).embeddings) == 2


@pytest.mark.ollama(35)
def test_it_thinks(server: Server) -> None:
    messages = [{"role": "user", "content": "2+2?"}]
    said = server.official.chat(
        model=server.the("thinking"), messages=messages, think=True, options={"num_predict": 100}
    )
    assert said.message.thinking


@pytest.mark.ollama(36)
def test_it_is_given_a_schema(server: Server) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    messages = [{"role": "user", "content": "How old is the cat? JSON."}]
    said = server.official.chat(
        model=server.model, messages=messages, format=schema, options={"num_predict": 200, "temperature": 0}
    )
    assert isinstance(json.loads(said.message.content or "")["age"], int)


def test_the_client_waits_for_what_is_slow(server: Server) -> None:
    """A first token that takes its time is no error of its own."""
    began = time.monotonic()
    said = server.official.generate(model=server.model, prompt="x", options={**SHORT, "hotset_run_s": 20.0})
    assert said.done and time.monotonic() - began < 60
