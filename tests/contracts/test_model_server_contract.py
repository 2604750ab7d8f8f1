"""What hotset relies on in an Ollama server, point by point; our own server and a real Ollama must both pass.

`make test-ollama OLLAMA_HOST=http://127.0.0.1:11434 MODELS=tinyllama,qwen2.5:0.5b,deepseek-r1:1.5b,all-minilm` runs
it on a real server too. MODELS are the models that it may load and unload, by their roles: a small one, a second,
one that thinks, one that embeds. Roles that are left empty or out are skipped. No other model may be loaded there when
it begins, as loading these could evict it; afterwards these are unloaded. `ollama(n)` are the points of
docs/model-server.md.
"""

from __future__ import annotations

import json
import math
import threading
import time
from datetime import datetime

import pytest

from ollama_server import OLLAMA, SHORT, Server, until


def eventually_gone(server: Server) -> bool:
    until(lambda: server.model not in server.resident())
    return True


@pytest.mark.skipif(not OLLAMA, reason="only our own server is asked: `make test-ollama` asks a real one too")
def test_a_real_ollama_is_asked_too() -> None:
    """One line in the report instead of one for each test."""


@pytest.mark.ollama(9)
def test_another_num_ctx_reloads_the_model(server: Server) -> None:
    for context in (2048, 1024):
        server.generate(keep_alive=-1, options={"num_ctx": context})
        assert server.row()["context_length"] == context


@pytest.mark.ollama(13)
def test_a_model_is_listed_when_it_is_loaded_and_not_before(server: Server) -> None:
    model = server.the("second")
    server.unload(model)
    listed: list[tuple[bool, bool]] = []
    answered = threading.Event()

    def load() -> None:
        server.http.post("/api/generate", json={"model": model, "keep_alive": -1})
        answered.set()

    loader = threading.Thread(target=load)
    loader.start()
    while not answered.is_set():
        before = answered.is_set()
        listed.append((before, model in server.resident()))
        time.sleep(0.02)
    loader.join()
    assert (False, False) in listed
    assert model in server.resident()


@pytest.mark.ollama(14)
def test_leaving_aborts_a_load(server: Server) -> None:
    server.unload()
    server.leave_after(0.05, {"model": server.model, "prompt": "", "keep_alive": -1})
    if server.model in server.resident():
        pytest.skip("it loads in less than 50 ms here")
    time.sleep(0.5 if server.scale < 1 else 5.0)
    assert server.model not in server.resident()


@pytest.mark.ollama(24)
def test_the_last_keep_alive_wins(server: Server) -> None:
    for keep_alive in (7200, 3600):
        server.generate(keep_alive=keep_alive)
        ends = datetime.fromisoformat(server.row()["expires_at"])
        left_s = (ends - datetime.now(ends.tzinfo)).total_seconds()
        assert left_s == pytest.approx(keep_alive * server.scale, rel=0.02, abs=2.0)
    server.generate(prompt="hi", stream=False, options=SHORT)
    again = datetime.fromisoformat(server.row()["expires_at"])
    assert again >= ends, "what says nothing leaves it as it was, and starts it again"


@pytest.mark.ollama(26)
def test_an_empty_prompt_loads_and_answers_with_one_object(server: Server) -> None:
    answer = server.generate(keep_alive=-1)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["done"], said["done_reason"], said["response"]) == (True, "load", "")
    assert server.model in server.resident()


@pytest.mark.ollama(26)
def test_a_chat_without_messages_loads(server: Server) -> None:
    said = server.http.post("/api/chat", json={"model": server.model, "messages": []}).json()
    assert (said["done_reason"], said["message"]["content"]) == ("load", "")


@pytest.mark.ollama(25)
def test_keep_alive_0_without_a_prompt_unloads(server: Server) -> None:
    server.generate(keep_alive=-1)
    said = server.generate(keep_alive=0).json()
    assert (said["done"], said["done_reason"]) == (True, "unload")
    assert eventually_gone(server)


@pytest.mark.ollama(25)
def test_keep_alive_0_with_a_prompt_unloads_when_idle(server: Server) -> None:
    assert server.generate(prompt="hi", stream=False, options=SHORT, keep_alive=0).json()["done"] is True
    assert eventually_gone(server)


@pytest.mark.parametrize("keep_alive", [300, "5m", "1h30m", -1, "-1s"])
@pytest.mark.ollama(23)
def test_keep_alive_is_seconds_or_a_duration(server: Server, keep_alive: object) -> None:
    assert server.generate(keep_alive=keep_alive).status_code == 200


@pytest.mark.ollama(23)
def test_a_number_without_a_unit_in_a_string_is_refused(server: Server) -> None:
    answer = server.generate(keep_alive="300")
    assert answer.status_code == 400
    assert "missing unit in duration" in answer.json()["error"]


@pytest.mark.ollama(27, 29)
def test_a_stream_is_one_object_a_line_and_the_last_has_the_figures(server: Server) -> None:
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


@pytest.mark.ollama(27)
def test_without_streaming_it_is_one_object(server: Server) -> None:
    answer = server.generate(prompt="Count to ten.", stream=False, options=SHORT)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    said = answer.json()
    assert said["done"] and said["response"] and said["eval_count"] > 0


@pytest.mark.ollama(29)
def test_num_predict_ends_with_length(server: Server) -> None:
    said = server.generate(prompt="Write a long story.", stream=False, options={"num_predict": 3}).json()
    assert (said["done_reason"], said["eval_count"]) == ("length", 3)


@pytest.mark.ollama(29)
def test_chat_says_messages(server: Server) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    with server.http.stream(
        "POST", "/api/chat", json={"model": server.model, "messages": messages, "options": SHORT}
    ) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert lines[-1]["done"] and "".join(line["message"]["content"] for line in lines)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/show", "/api/embed"])
@pytest.mark.ollama(33)
def test_an_unknown_model_is_404(server: Server, path: str) -> None:
    body = {"model": "no-such-model", "prompt": "x", "messages": [{"role": "user", "content": "x"}], "input": "x"}
    answer = server.http.post(path, json=body)
    assert answer.status_code == 404
    wanted = ("model 'no-such-model", 'model "no-such-model')  # /api/embed has words of its own
    assert answer.json()["error"].startswith(wanted[path == "/api/embed"])


@pytest.mark.ollama(33)
def test_a_chat_needs_a_model(server: Server) -> None:
    answer = server.http.post("/api/chat", json={"messages": []})
    assert (answer.status_code, answer.json()) == (400, {"error": "model is required"})


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed"])
@pytest.mark.ollama(33)
def test_a_request_needs_a_body(server: Server, path: str) -> None:
    answer = server.http.post(path)
    assert (answer.status_code, answer.json()) == (400, {"error": "missing request body"})


@pytest.mark.ollama(34)
def test_an_option_of_a_wrong_type_is_500(server: Server) -> None:
    answer = server.generate(prompt="hi", options={"num_ctx": "many"})
    assert (answer.status_code, answer.json()) == (500, {"error": 'option "num_ctx" must be of type integer'})


@pytest.mark.ollama(34)
def test_unknown_options_are_ignored(server: Server) -> None:
    options = {**SHORT, "no_such_option": 1}
    assert server.generate(prompt="hi", stream=False, options=options).status_code == 200


@pytest.mark.ollama(35)
def test_think_on_a_model_that_cannot_is_400(server: Server) -> None:
    answer = server.generate(prompt="hi", think=True)
    assert answer.status_code == 400
    assert answer.json()["error"] == f'"{server.model}" does not support thinking'


@pytest.mark.ollama(35)
def test_a_thinking_model_thinks_unless_told_not_to(server: Server) -> None:
    body = {
        "model": server.the("thinking"),
        "messages": [{"role": "user", "content": "2+2?"}],
        "options": {"num_predict": 200},
        "stream": False,
    }
    said = server.http.post("/api/chat", json=body).json()["message"]
    assert said["thinking"]
    assert "thinking" not in server.http.post("/api/chat", json={**body, "think": False}).json()["message"]
    for think in (True, "high"):
        assert server.http.post("/api/chat", json={**body, "think": think}).json()["message"]["thinking"]
    assert server.http.post("/api/chat", json={**body, "think": "hard"}).status_code == 400


@pytest.mark.ollama(36)
def test_a_format_that_is_none_is_refused(server: Server) -> None:
    answer = server.generate(prompt="hi", format="xml", stream=False, options=SHORT)
    assert answer.status_code == 500
    assert answer.json()["error"].endswith('expected "json" or a valid JSON Schema object')


@pytest.mark.ollama(36)
def test_format_json_gives_an_object(server: Server) -> None:
    said = server.generate(prompt="An object in JSON.", format="json", stream=False, options={"num_predict": 400})
    assert isinstance(json.loads(said.json()["response"]), dict)


@pytest.mark.ollama(36)
def test_a_schema_is_kept(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "kind": {"enum": ["cat", "dog"]}},
        "required": ["age", "kind"],
    }
    said = server.generate(prompt="A pet.", format=schema, stream=False, options={"num_predict": 400}).json()
    pet = json.loads(said["response"])
    assert isinstance(pet["age"], int) and pet["kind"] in ("cat", "dog")


@pytest.mark.ollama(37)
def test_embeddings_are_normalised(server: Server) -> None:
    said = server.http.post("/api/embed", json={"model": server.model, "input": ["one thing", "another"]}).json()
    assert len(said["embeddings"]) == 2
    for vector in said["embeddings"]:
        assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-3)
    assert said["prompt_eval_count"] > 0


@pytest.mark.ollama(37)
def test_an_input_too_long_is_400_when_it_may_not_be_cut(server: Server) -> None:
    body = {"model": server.model, "input": "many words " * 60_000, "truncate": False}
    answer = server.http.post("/api/embed", json=body)
    assert answer.status_code == 400
    assert "input length exceeds the context length" in answer.json()["error"]


@pytest.mark.ollama(37)
def test_an_embedding_model_embeds_and_does_not_speak(server: Server) -> None:
    model = server.the("embedding")
    loaded = server.http.post("/api/embed", json={"model": model, "input": []}).json()
    assert loaded["embeddings"] == [], "without input it only loads"
    one, three = (
        server.http.post("/api/embed", json={"model": model, "input": given}).json()
        for given in ("one thing", ["one thing", "another", "one thing"])
    )
    assert {"model", "embeddings", "total_duration", "prompt_eval_count"} <= one.keys()
    assert three["embeddings"][0] == pytest.approx(three["embeddings"][2], abs=1e-3)
    assert one["embeddings"][0] == pytest.approx(three["embeddings"][0], abs=1e-3)
    assert one["embeddings"][0] != pytest.approx(three["embeddings"][1], abs=1e-3)
    for body, words in (({"input": [1]}, "invalid input type"), ({"input": 5}, "invalid input type")):
        answer = server.http.post("/api/embed", json={"model": model, **body})
        assert (answer.status_code, answer.json()["error"]) == (400, words)
    answer = server.http.post("/api/generate", json={"model": model, "prompt": "hi"})
    assert (answer.status_code, answer.json()) == (400, {"error": f'"{model}" does not support generate'})


@pytest.mark.ollama(37)
def test_fewer_dimensions_are_normalised_again(server: Server) -> None:
    body = {"model": server.the("embedding"), "input": "one thing", "dimensions": 16}
    (vector,) = server.http.post("/api/embed", json=body).json()["embeddings"]
    assert len(vector) == 16 and math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-3)


@pytest.mark.ollama(37)
def test_the_older_route_embeds_one_prompt(server: Server) -> None:
    model = server.the("embedding")
    assert server.http.post("/api/embeddings", json={"model": model, "prompt": "hi"}).json()["embedding"]
    assert server.http.post("/api/embeddings", json={"model": model, "prompt": ""}).json() == {"embedding": []}
    assert server.http.post("/api/embeddings", json={"prompt": "hi"}).json() == {"error": "model is required"}


@pytest.mark.ollama(38)
def test_ps_lists_what_is_loaded(server: Server) -> None:
    server.generate(keep_alive=-1)
    row = server.row()
    assert {"name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"} <= row.keys()
    assert ":" in row["name"], "Ollama writes the tag even where it is `latest`"
    assert 0 <= row["size_vram"] <= row["size"]


@pytest.mark.ollama(39)
def test_the_small_routes(server: Server) -> None:
    assert server.http.get("/").text == "Ollama is running"
    assert server.http.head("/").status_code == 200
    assert server.http.get("/api/version").json()["version"]
    row = server.http.get("/api/tags").json()["models"][0]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= row.keys()
    card = server.http.post("/api/show", json={"model": server.model}).json()
    assert {"modelfile", "template", "details", "model_info", "capabilities"} <= card.keys()


@pytest.mark.ollama(29)
def test_an_answer_ends_before_a_stop_sequence(server: Server) -> None:
    """Once without, to learn a word of the answer; the same seed says the same again."""
    options = {"num_predict": 30, "seed": 7, "temperature": 0}
    ask = {"prompt": "Count from one to twenty.", "stream": False}
    whole = server.generate(**ask, options=options).json()["response"]
    stop = whole.split()[5]
    said = server.generate(**ask, options={**options, "stop": ["\u0000never", stop]}).json()
    assert said["done_reason"] == "stop"
    assert stop not in said["response"] and whole.startswith(said["response"].rstrip())


@pytest.mark.ollama(33)
def test_raw_excludes_a_template(server: Server) -> None:
    answer = server.generate(prompt="hi", raw=True, system="Be brief.")
    wanted = {"error": "raw mode does not support template, system, or context"}
    assert (answer.status_code, answer.json()) == (400, wanted)
    assert server.generate(prompt="hi", raw=True, stream=False, options=SHORT).json()["done"]


@pytest.mark.ollama(33)
def test_show_needs_a_model(server: Server) -> None:
    answer = server.http.post("/api/show", json={})
    assert (answer.status_code, answer.json()) == (400, {"error": "model is required"})


@pytest.mark.ollama(28)
def test_an_error_before_the_first_chunk_is_a_status(server: Server) -> None:
    answer = server.generate(prompt="hi", stream=True, options={"temperature": "hot"})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"error": 'option "temperature" must be of type float32'}


@pytest.mark.ollama(30)
def test_a_client_that_leaves_frees_the_slot(server: Server) -> None:
    server.generate(keep_alive=-1)
    long = {"model": server.model, "prompt": "Go on and on.", "options": {"num_predict": 4000, "hotset_run_s": 1e4}}
    for _ in range(4):  # more than any slots
        with server.http.stream("POST", "/api/generate", json=long) as answer:
            next(answer.iter_lines())
    assert server.generate(prompt="hi", stream=False, options=SHORT).json()["done"]
