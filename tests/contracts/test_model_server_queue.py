"""The simulated GPU over HTTP: its queue, loads, evictions and trace. `ollama(n)`: points of docs/model-server.md."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from hotset.fleet import Fleet, Gpu, Model
from hotset.modelserver.profiles import profile_of
from ollama_bench import CLASSIC, DEEPSEEK, QWEN, SMALL, TINY, Make


@pytest.mark.ollama(1)
def test_a_resident_model_is_served_while_another_loads(bench: Make) -> None:
    server = bench(scale=0.2)  # a load of one wall second: a busy machine is done with the run before
    server.generate(TINY)
    loading = server.later(server.generate, QWEN)
    server.wait_for("load", QWEN)
    server.run(TINY, 0.1)
    assert not loading.done() and ("loaded", QWEN) not in server.events()
    assert loading.result().json()["done_reason"] == "load"


@pytest.mark.ollama(2)
def test_the_queue_is_bounded_but_not_for_resident_models(bench: Make) -> None:
    server = bench(scale=0.05, max_queue=1)
    server.generate(TINY)
    first = server.later(server.generate, QWEN)
    second = server.later(server.generate, QWEN)
    third = server.generate(DEEPSEEK)
    assert third.status_code == 503
    assert third.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
    assert server.run(TINY, 0.01).status_code == 200
    assert first.result().status_code == second.result().status_code == 200


@pytest.mark.ollama(3)
def test_first_in_first_out_and_the_head_blocks(bench: Make) -> None:
    server = bench()
    requests = [server.later(server.run, model, 0.5) for model in (DEEPSEEK, TINY, DEEPSEEK)]
    assert [request.result().status_code for request in requests] == [200] * 3
    assert [model for _, model in server.events("load")] == [DEEPSEEK, TINY, DEEPSEEK]


@pytest.mark.ollama(4)
def test_requests_that_wait_for_a_turn_do_not_count(bench: Make) -> None:
    server = bench(max_queue=1, num_parallel=1)
    server.generate(TINY)
    requests = [server.later(server.run, TINY, 1.0) for _ in range(6)]
    assert [request.result().status_code for request in requests] == [200] * 6


@pytest.mark.ollama(5)
def test_at_most_three_models_with_ollamas_admission(bench: Make) -> None:
    fleet = Fleet(gpus=(Gpu("gpu0", 10_000),), models={n: Model(n, 10, 1.0) for n in "abcd"}, queues={})
    server = bench(fleet, scale=0.0, admission="ollama")
    for model in "abcd":
        server.generate(model)
    assert server.resident() == ["b", "c", "d"]
    assert "3 models are loaded" in server.trace()[-3]["reason"]


@pytest.mark.ollama(6)
def test_the_victim_is_the_one_with_the_shortest_keep_alive(bench: Make) -> None:
    server = bench(SMALL)
    server.generate("a", keep_alive=600)
    server.generate("b", keep_alive=60)
    server.generate("c", keep_alive=600)
    assert server.resident() == ["a", "c"]
    server.generate("d", keep_alive=600)
    assert server.resident() == ["c", "d"], "at equal keep_alive the first by name"


@pytest.mark.ollama(6)
def test_an_idle_model_goes_before_a_busy_one(bench: Make) -> None:
    server = bench(SMALL)
    server.generate("b", keep_alive=600)
    busy = server.later(server.run, "a", 10.0, keep_alive=1)
    server.wait_for("start", "a")
    server.generate("c")
    assert server.resident() == ["a", "c"]
    assert busy.result().status_code == 200


@pytest.mark.ollama(7)
def test_a_busy_victim_ends_its_run_first(bench: Make) -> None:
    server = bench()
    busy = server.later(server.run, DEEPSEEK, 5.0, keep_alive=-1)
    server.wait_for("start", DEEPSEEK)
    assert server.run(TINY, 0.1).status_code == 200
    assert busy.result().json()["done"]
    names = [line["event"] for line in server.trace() if line["model"] == DEEPSEEK]
    assert names == ["load", "loaded", "start", "finish", "evict"]


@pytest.mark.ollama(8)
def test_newcomers_for_the_victim_can_starve_the_head(bench: Make) -> None:
    server = bench()
    server.later(server.run, DEEPSEEK, 60.0, keep_alive=-1)
    server.wait_for("start", DEEPSEEK)
    head = server.later(server.run, TINY, 0.1)
    server.run(DEEPSEEK, 0.1, keep_alive=-1)
    server.wait_for("finish", DEEPSEEK, times=2)
    time.sleep(0.1)
    assert not head.done() and server.resident() == [DEEPSEEK]
    server.generate(DEEPSEEK, keep_alive=0)
    assert head.result().status_code == 200


@pytest.mark.parametrize("options", [{"num_ctx": 4096}, {"num_batch": 64}, {"use_mmap": False}, {"num_thread": 2}])
@pytest.mark.ollama(9)
def test_other_options_are_a_hidden_swap(bench: Make, options: dict[str, Any]) -> None:
    server = bench()
    server.generate(TINY)
    server.generate(TINY, options=options)
    server.generate(TINY, options=options)
    assert [event for event, _ in server.events()] == ["load", "loaded", "evict", "load", "loaded"]
    assert next(iter(options)) in server.trace()[2]["reason"]


@pytest.mark.ollama(9)
def test_options_that_do_not_concern_the_load_do_not_reload(bench: Make) -> None:
    server = bench()
    server.generate(TINY, options={"num_gpu": -1})
    server.generate(TINY, "hi", options={"temperature": 0.1, "num_predict": 2, "seed": 7, "stop": ["x"]})
    assert len(server.events("load")) == 1


@pytest.mark.ollama(10)
def test_num_ctx_is_at_least_4(bench: Make) -> None:
    server = bench()
    server.generate(TINY, options={"num_ctx": 1})
    assert server.http.get("/api/ps").json()["models"][0]["context_length"] == 4


@pytest.mark.ollama(10)
def test_num_ctx_is_at_most_what_the_model_was_trained_for(bench: Make) -> None:
    profile = replace(profile_of(CLASSIC.models[TINY]), trained_context=2048)
    server = bench(profiles={TINY: profile})
    for asked in (100_000, 2048):
        server.generate(TINY, options={"num_ctx": asked})
        assert server.http.get("/api/ps").json()["models"][0]["context_length"] == 2048
    assert len(server.events("load")) == 1, "both are the same"
    assert server.http.post("/api/show", json={"model": TINY}).json()["model_info"]["llama.context_length"] == 2048


@pytest.mark.ollama(21)
def test_without_num_ctx_it_is_the_fleets(bench: Make) -> None:
    models = {**CLASSIC.models, QWEN: replace(CLASSIC.models[QWEN], context=8192)}
    server = bench(replace(CLASSIC, models=models))
    for model, context in ((TINY, 4096), (QWEN, 8192)):
        server.generate(model)
        rows = server.http.get("/api/ps").json()["models"]
        assert {row["model"]: row["context_length"] for row in rows}[
            model if ":" in model else f"{model}:latest"
        ] == context


@pytest.mark.ollama(11)
def test_a_pending_request_whose_client_left_is_dropped(bench: Make) -> None:
    server = bench(scale=0.05)
    first = server.later(server.generate, DEEPSEEK)
    leave_at = time.monotonic() + 0.05
    server.leave_while(lambda: time.monotonic() > leave_at, {"model": TINY, "prompt": "hi"})
    last = server.later(server.generate, QWEN)
    assert first.result().status_code == last.result().status_code == 200
    assert [model for _, model in server.events("load")] == [DEEPSEEK, QWEN]


@pytest.mark.ollama(12)
def test_a_load_waits_for_the_load_before_it(bench: Make) -> None:
    server = bench(scale=0.05)
    for request in [server.later(server.generate, model) for model in (TINY, QWEN)]:  # they fit side by side
        request.result()
    assert server.events() == [("load", TINY), ("loaded", TINY), ("load", QWEN), ("loaded", QWEN)]


@pytest.mark.ollama(13)
def test_a_loading_model_is_not_listed(bench: Make) -> None:
    server = bench(scale=0.05)
    loading = server.later(server.generate, DEEPSEEK)
    server.wait_for("load", DEEPSEEK)
    assert server.resident() == []
    loading.result()
    assert server.resident() == [DEEPSEEK]


@pytest.mark.ollama(14)
def test_the_clients_leaving_aborts_its_load(bench: Make) -> None:
    server = bench(scale=1.0)
    began = time.monotonic()
    server.leave_while(lambda: ("load", DEEPSEEK) in server.events(), {"model": DEEPSEEK, "keep_alive": -1})
    server.wait_for("evict", DEEPSEEK)
    assert time.monotonic() - began < 5, "before the load would have ended, after 6 s"
    assert "499 request canceled" in server.trace()[-1]["reason"]
    assert server.resident() == []


@pytest.mark.ollama(15)
def test_a_load_that_stalls_times_out(bench: Make) -> None:
    server = bench(load_timeout_s=2.0)
    answer = server.generate(TINY, "hi", options={"hotset_fault": "load_timeout"})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("timed out waiting for llama-server to start - ")
    assert server.run(TINY, 0.1).status_code == 200


@pytest.mark.ollama(16)
def test_the_runners_death_at_load(bench: Make) -> None:
    server = bench()
    answer = server.generate(TINY, "hi", options={"hotset_fault": "load_crash"})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("llama-server process has terminated: ")


@pytest.mark.ollama(9, 16, 28)
def test_the_runners_death_in_a_run_is_an_error_line_and_then_a_reload(bench: Make) -> None:
    server = bench()
    body = {"model": TINY, "prompt": "hi", "options": {"hotset_fault": "crash"}}
    with server.http.stream("POST", "/api/generate", json=body) as answer:
        assert answer.status_code == 200
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[0]["response"] == "[simulated]"
    assert lines[-1] == {"error": "an error was encountered while running the model: unexpected EOF"}
    assert server.run(TINY, 0.1).status_code == 200
    assert [event for event, _ in server.events("load", "evict")] == ["load", "evict", "load"]
    assert [line["outcome"] for line in server.trace() if line["event"] == "finish"] == ["failed", "succeeded"]


@pytest.mark.ollama(17)
@pytest.mark.parametrize("fault", ["load_oom_once", "load_oom"])
def test_out_of_memory_at_load_is_tried_once_more_with_nothing_else_loaded(bench: Make, fault: str) -> None:
    server = bench()
    server.generate(TINY)
    answer = server.generate(QWEN, "hi", options={"hotset_fault": fault})
    loads = server.events("load", "loaded", "evict")[2:]
    assert loads[:4] == [("load", QWEN), ("evict", QWEN), ("evict", TINY), ("load", QWEN)]
    if fault == "load_oom_once":
        assert answer.status_code == 200 and loads[4:] == [("loaded", QWEN)]
    else:
        words = "llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory"
        assert (answer.status_code, answer.json()) == (500, {"error": words})
        assert loads[4:] == [("evict", QWEN)]
    assert server.generate(QWEN, "hi").status_code == 200


@pytest.mark.ollama(17)
def test_out_of_memory_alone_is_not_tried_again(bench: Make) -> None:
    server = bench()
    assert server.generate(QWEN, "hi", options={"hotset_fault": "load_oom_once"}).status_code == 500
    assert len(server.events("load")) == 1


@pytest.mark.ollama(20)
def test_after_an_eviction_it_waits_for_the_vram(bench: Make) -> None:
    server = bench(scale=0.05, profiles={DEEPSEEK: replace(profile_of(CLASSIC.models[DEEPSEEK]), unload_s=3.0)})
    server.generate(DEEPSEEK)
    server.generate(TINY)
    at = {(line["event"], line["model"]): line["t"] for line in server.trace()}
    # A busy machine adds to it: 20 model seconds are one of the wall clock here.
    assert 2.9 <= at["load", TINY] - at["evict", DEEPSEEK] <= 3.0 + 20.0


@pytest.mark.ollama(19)
def test_exact_admission_counts_sizes(bench: Make) -> None:
    server = bench(scale=0.0)
    for model in (TINY, QWEN):
        server.generate(model)
    assert server.resident() == [QWEN, TINY]
    answer = server.generate("huge")
    assert answer.status_code == 500 and "requires more system memory" in answer.json()["error"]


@pytest.mark.ollama(19)
def test_ollamas_admission_takes_80_percent_and_offloads(bench: Make) -> None:
    server = bench(scale=0.0, admission="ollama")
    server.generate(TINY)
    server.generate(QWEN)  # 2500 of 2886 free are more than 80 %
    assert server.resident() == [QWEN]
    server.generate("huge")
    row = server.http.get("/api/ps").json()["models"][0]
    assert row["size_vram"] == 3686 * 2**20 < row["size"] == 8000 * 2**20


@pytest.mark.ollama(19)
def test_layers_on_the_cpu_make_it_slower(bench: Make) -> None:
    server = bench(scale=0.01, admission="ollama")
    server.generate("huge")
    took_ms = server.run("huge", 10.0).json()["eval_duration"] / 1e6
    assert took_ms == pytest.approx(100 * (1 + 3 * (1 - 3686 / 8000)), rel=0.1)


def overlap(trace: list[dict[str, Any]]) -> int:
    """The most requests that ran at once."""
    running = most = 0
    for line in trace:
        running += {"start": 1, "finish": -1}.get(line["event"], 0)
        most = max(most, running)
    return most


@pytest.mark.parametrize(("num_parallel", "most"), [(None, 2), (1, 1), (3, 3)])
@pytest.mark.ollama(22)
def test_so_many_requests_run_at_once_on_a_model(bench: Make, num_parallel: int | None, most: int) -> None:
    server = bench(num_parallel=num_parallel)
    server.generate(TINY)
    for request in [server.later(server.run, TINY, 5.0) for _ in range(4)]:
        request.result()
    assert overlap(server.trace()) == most


@pytest.mark.ollama(22)
def test_an_embedding_model_takes_one_at_a_time(bench: Make) -> None:
    fleet = Fleet(CLASSIC.gpus, {"all-minilm": Model("all-minilm", 100, 0.1, tokens_per_s=10)}, {})
    server = bench(fleet, num_parallel=4)

    def embed() -> httpx.Response:
        return server.http.post("/api/embed", json={"model": "all-minilm", "input": "many words " * 300})

    for request in [server.later(embed) for _ in range(3)]:
        assert request.result().status_code == 200
    assert overlap(server.trace()) == 1


@pytest.mark.ollama(22)
def test_models_side_by_side_run_at_the_same_time(bench: Make) -> None:
    server = bench(num_parallel=1)
    for model in (TINY, QWEN):
        server.generate(model)
    for request in [server.later(server.run, model, 5.0) for model in (TINY, QWEN)]:
        request.result()
    assert overlap(server.trace()) == 2


@pytest.mark.ollama(24)
def test_the_last_keep_alive_wins_and_counts_from_the_end(bench: Make) -> None:
    server = bench()
    server.generate(TINY, keep_alive=-1)
    server.run(TINY, 5.0, keep_alive=10.0)
    server.wait_for("evict", TINY)
    times = {line["event"]: line["t"] for line in server.trace()}
    assert times["evict"] - times["finish"] == pytest.approx(10.0, abs=1.5)


@pytest.mark.ollama(24)
def test_a_request_that_says_nothing_leaves_it_as_it_was(bench: Make) -> None:
    server = bench(keep_alive_s=1.0)
    server.generate(TINY, keep_alive=-1)
    server.run(TINY, 0.1)
    time.sleep(0.1)
    assert server.resident() == [TINY]
    assert server.http.get("/api/ps").json()["models"][0]["expires_at"] > "2300"


@pytest.mark.ollama(30)
def test_leaving_in_a_run_is_in_the_trace_as_cancelled(bench: Make) -> None:
    server = bench()
    server.generate(TINY)
    for stream in (True, False):
        body = {"model": TINY, "prompt": "x", "stream": stream, "options": {"hotset_run_s": 1e5}}
        server.leave_while(lambda: server.events()[-1][0] == "start", body)
        server.until(lambda: server.events()[-1][0] == "finish")
        assert server.trace()[-1]["outcome"] == "cancelled"


@pytest.mark.ollama(31)
def test_repetition_ends_the_answer_without_its_last_line(bench: Make) -> None:
    server = bench()
    body = {"model": TINY, "prompt": "hi", "options": {"hotset_fault": "repeat"}}
    with server.http.stream("POST", "/api/generate", json=body) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines and not any(line["done"] for line in lines)
    whole = server.generate(TINY, "hi", options={"hotset_fault": "repeat"})
    assert (whole.status_code, whole.json()["done"]) == (200, False)


def test_a_cut_connection(bench: Make) -> None:
    server = bench()
    body = {"model": TINY, "prompt": "hi", "options": {"hotset_fault": "cut"}}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        server.http.stream("POST", "/api/generate", json=body) as answer,
    ):
        list(answer.iter_lines())


@pytest.mark.ollama(32)
def test_num_predict_minus_1_is_ten_contexts(bench: Make) -> None:
    server = bench(scale=0.0)
    said = server.generate(TINY, "hi", options={"num_ctx": 4, "hotset_run_s": 50.0, "num_predict": -1}).json()
    assert (said["eval_count"], said["done_reason"]) == (40, "length")


@pytest.mark.ollama(32)
def test_num_predict_is_never_more_than_ten_contexts(bench: Make) -> None:
    server = bench(scale=0.0)
    options = {"num_ctx": 4, "hotset_run_s": 50.0, "num_predict": 10**9}
    assert server.generate(TINY, "hi", options=options).json()["eval_count"] == 40


@pytest.mark.ollama(38)
def test_ps_has_the_longest_to_stay_first(bench: Make) -> None:
    server = bench(scale=1.0, fleet=replace(CLASSIC, models={n: Model(n, 10, 0.01) for n in "abc"}))
    for model, keep_alive in (("a", 100), ("b", -1), ("c", 1000)):
        server.generate(model, keep_alive=keep_alive)
    assert [row["name"] for row in server.http.get("/api/ps").json()["models"]] == ["b:latest", "c:latest", "a:latest"]


@pytest.mark.ollama(35)
def test_deepseek_thinks_unless_told_not_to(bench: Make) -> None:
    server = bench(scale=0.0)
    said = server.generate(DEEPSEEK, "hi").json()
    assert said["thinking"].startswith("[simulated]") and said["response"].startswith("[simulated]")
    assert "thinking" not in server.generate(DEEPSEEK, "hi", think=False).json()
    messages = [{"role": "user", "content": "hi"}]
    chat = server.http.post("/api/chat", json={"model": DEEPSEEK, "messages": messages, "stream": False}).json()
    assert chat["message"]["thinking"] and chat["message"]["content"]


def test_every_answer_says_that_it_is_simulated(bench: Make) -> None:
    server = bench(scale=0.0)
    answers = [
        server.http.get("/api/version"),
        server.http.get("/nowhere"),
        server.http.get("/api/generate"),
        server.generate("no-such-model"),
        server.generate(TINY, "hi"),
        server.http.post("/api/generate", json={"model": TINY, "prompt": "hi"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 405, 404, 200, 200]
    assert {answer.headers.get("x-hotset-simulated") for answer in answers} == {"1"}
    assert answers[0].json()["simulated"] is True
    assert answers[4].json()["response"].startswith("[simulated]")


def test_a_body_too_large_is_413(bench: Make) -> None:
    assert bench().generate(TINY, "x" * 9_000_000).status_code == 413


def test_the_same_prompt_gives_the_same_answer(bench: Make) -> None:
    server = bench(scale=0.0)
    first, again, other, reseeded = (
        server.generate(TINY, prompt, options=options).json()
        for prompt, options in [("a", {}), ("a", {}), ("b", {}), ("a", {"seed": 2})]
    )
    assert first["response"] == again["response"]
    assert len({first["response"], other["response"], reseeded["response"]}) == 3


def test_a_fixed_run_takes_its_time_and_streams_at_most_50_chunks_a_second(bench: Make) -> None:
    server = bench(scale=0.05)
    server.generate(TINY)
    began = time.monotonic()
    body = {"model": TINY, "prompt": "hi", "options": {"hotset_run_s": 10.0, "hotset_job": "j1"}}
    arrivals = []
    with server.http.stream("POST", "/api/generate", json=body) as answer:
        for line in answer.iter_lines():
            arrivals.append((time.monotonic() - began, json.loads(line)))
    first, last = arrivals[0][0], arrivals[-1][0]
    assert first < 0.4 and first < last / 2, "the first token does not wait"
    assert last >= 0.45
    assert len(arrivals) <= last * 50 + 3
    start, finish = server.trace()[-2:]
    assert (start["job"], finish["job"]) == ("j1", "j1")
    assert finish["t"] - start["t"] + 0.3 >= 10.0 and finish["t"] - start["t"] <= last / 0.05 + 0.3


def test_speed_divides_loads_and_runs(bench: Make) -> None:
    fleet = Fleet(gpus=(Gpu("gpu0", 3686, speed=2.0),), models=CLASSIC.models, queues=CLASSIC.queues)
    server = bench(fleet, scale=0.1)
    server.run(TINY, 4.0)
    at = {line["event"]: line["t"] for line in server.trace()}
    # At speed 1 it would be twice that; a busy machine adds to it, as much to the one as to the other.
    assert at["loaded"] - at["load"] >= 0.9 and 1.9 <= at["finish"] - at["start"] < 4.0


def test_the_trace_is_in_order_and_starts_at_0(bench: Make) -> None:
    server = bench()
    for request in [server.later(server.run, model, 1.0) for model in (TINY, QWEN, DEEPSEEK, TINY)]:
        request.result()
    trace = server.trace()
    assert trace[0]["t"] == 0.0
    assert [line["t"] for line in trace] == sorted(line["t"] for line in trace)
    assert all(line["gpu"] == "gpu0" for line in trace)


def test_a_queue_of_many_survives_clients_that_come_and_go(bench: Make) -> None:
    """No slot, seat or place in the queue is lost, whenever a client leaves."""
    server = bench(scale=0.005)
    stop = threading.Event()

    def impatient(number: int) -> httpx.Response:
        with httpx.Client(base_url=server.http.base_url, trust_env=False, verify=False) as http:
            while not stop.is_set():
                number += 1
                model = (TINY, QWEN, DEEPSEEK)[number % 3]
                body = {"model": model, "prompt": "hi", "stream": number % 2 == 0, "options": {"hotset_run_s": 3.0}}
                with contextlib.suppress(httpx.TimeoutException):
                    http.post("/api/generate", json=body, timeout=0.001 * (5 + number * 7 % 60))
        return httpx.Response(200)

    clients = [server.later(impatient, number) for number in range(8)]
    time.sleep(1.0)
    stop.set()
    for client in clients:
        client.result()
    for model in (TINY, QWEN, DEEPSEEK):
        assert server.run(model, 0.1).json()["done"]
    assert overlap(server.trace()) <= 4
    counts = {name: len(server.events(name)) for name in ("start", "finish", "load", "evict")}
    assert counts["start"] == counts["finish"]
    assert counts["load"] == counts["evict"] + 1
