"""What makes our server useful alone, to rehearse programs that speak to Ollama."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import ollama
import pytest

from hotset.modelserver.profiles import LogNormal, Seen, profile_of
from ollama_bench import CLASSIC, DEEPSEEK, TINY, Bench, Make

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["town"],
        },
    },
}


@pytest.fixture
def server(bench: Make) -> Bench:
    return bench(scale=0.0)


def official(server: Bench) -> ollama.Client:
    return ollama.Client(host=str(server.http.base_url), timeout=10.0, trust_env=False)


@pytest.mark.parametrize("stream", [True, False])
def test_a_program_with_tools(server: Bench, stream: bool) -> None:
    """It asks, is told to call, calls, and is answered."""
    client = official(server)
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Graz?"}]

    def ask() -> list[ollama.ChatResponse]:
        said = client.chat(model=TINY, messages=messages, tools=[WEATHER], stream=stream)  # type: ignore[call-overload]
        return list(said) if stream else [said]

    answer = ask()
    (call,) = [call for part in answer for call in part.message.tool_calls or ()]
    assert call.function.name == "weather"
    assert isinstance(call.function.arguments["town"], str) and call.function.arguments["unit"] in ("C", "F")
    assert answer[-1].done and answer[-1].done_reason == "stop"
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "11 °C, rain"},
    ]
    said = ask()
    assert not any(part.message.tool_calls for part in said)
    assert "".join(part.message.content or "" for part in said).startswith("[simulated]")
    client._client.close()


def test_a_model_that_cannot_is_refused_as_by_ollama(bench: Make) -> None:
    plain = replace(profile_of(CLASSIC.models[TINY]), capabilities=("completion",))
    server = bench(scale=0.0, profiles={TINY: plain})
    messages = [{"role": "user", "content": "hi"}]
    answer = server.http.post("/api/chat", json={"model": TINY, "messages": messages, "tools": [WEATHER]})
    words = "registry.ollama.ai/library/tinyllama:latest does not support tools"
    assert (answer.status_code, answer.json()) == (400, {"error": words})
    answer = server.generate(TINY, "def f(", suffix="return x")
    assert (answer.status_code, answer.json()["error"][-23:]) == (400, "does not support insert")
    assert server.http.post("/api/show", json={"model": TINY}).json()["capabilities"] == ["completion"]
    assert server.http.post("/api/chat", json={"model": TINY, "messages": messages, "tools": []}).status_code == 200


def test_pulling_what_is_there_succeeds_and_anything_else_fails(server: Bench) -> None:
    client = official(server)
    steps = [step.status for step in client.pull(TINY, stream=True)]
    assert steps[0] == "pulling manifest" and steps[-1] == "success"
    assert client.pull(f"{TINY}:latest").status == "success"
    with pytest.raises(ollama.ResponseError, match=r"pull model manifest: file does not exist .*only") as caught:
        list(client.pull("mistral", stream=True))
    assert caught.value.status_code == -1
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull("mistral")
    assert caught.value.status_code == 500
    client._client.close()


def test_what_is_elsewhere_is_404(server: Bench) -> None:
    assert server.http.post("/v1/chat/completions", json={}).status_code == 404
    assert server.http.delete("/api/generate").status_code == 405


def test_images_template_suffix_and_context_are_accepted(server: Bench) -> None:
    more = {"images": ["aGk="], "template": "{{ .Prompt }}", "suffix": "the end", "context": [1, 2, 3]}
    assert server.generate(TINY, "hi", **more).json()["done"]


@pytest.mark.parametrize("pieces", [0.0, 0.02])
def test_stop_sequences_may_lie_across_chunks(bench: Make, pieces: float) -> None:
    server = bench(scale=pieces)
    options = {"hotset_run_s": 10.0}
    whole = server.generate(TINY, "hi", options=options).json()["response"]
    words = whole.split()
    stop = f"{words[7]} {words[8]}"
    said = server.generate(TINY, "hi", options={**options, "stop": ["not there", stop]}).json()
    assert said["response"] == whole[: whole.index(stop)]
    assert said["done_reason"] == "stop" and said["eval_count"] < 1000
    streamed = server.lines(TINY, **options, stop=[stop])
    assert "".join(line["response"] for line in streamed) == said["response"]
    unheard = server.generate(TINY, "hi", options={**options, "stop": ["not there"]}).json()
    assert unheard["response"] == whole, "what was held back is said in the end"


def test_answers_have_the_lengths_of_their_profile(bench: Make) -> None:
    model = CLASSIC.models[TINY]
    for answers, check in (
        (LogNormal(50, 0.0), lambda counts: set(counts) == {50}),
        (Seen((10, 20, 40)), lambda counts: set(counts) == {10, 20, 40}),
        (LogNormal(100, 0.5), lambda counts: len(counts) > 30 and 70 < sum(counts.elements()) / 60 < 130),
    ):
        server = bench(scale=0.0, profiles={TINY: replace(profile_of(model), answers=answers)})
        counts = Counter(server.generate(TINY, f"prompt {i}").json()["eval_count"] for i in range(60))
        assert check(counts), counts


def test_the_first_token_takes_its_time_and_the_prompt_its_rate(bench: Make) -> None:
    profile = replace(
        profile_of(CLASSIC.models[TINY]), first_token_s=4.0, prompt_tokens_per_s=50.0, answers=LogNormal(2, 0.0)
    )
    server = bench(scale=0.02, profiles={TINY: profile})
    server.generate(TINY)
    took = server.generate(TINY, "x" * 400).json()  # 100 tokens
    assert took["prompt_eval_duration"] / 1e9 == pytest.approx(0.02 * (4.0 + 2.0), rel=0.4)


def test_a_model_that_only_its_profile_knows_is_served(bench: Make) -> None:
    server = bench(scale=0.0, profiles={"phi4": profile_of(replace(CLASSIC.models[TINY], name="phi4"))})
    assert server.generate("phi4:latest", "hi").json()["done"]
    names = [row["name"] for row in server.http.get("/api/tags").json()["models"]]
    assert {"phi4:latest", "tinyllama:latest", DEEPSEEK} <= set(names)


def test_names_are_those_of_ollama(server: Bench) -> None:
    for name in itertools.chain([TINY, f"{TINY}:latest"], [f"registry.ollama.ai/library/{TINY}"]):
        said = server.generate(name, "hi").json()
        assert said["done"] and said["model"] == name, "as it was sent"
