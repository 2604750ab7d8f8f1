"""Streams from the first event to the last: each word once, whatever happens to connections, cache and worker."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
import redis

from byhand import Worker
from hotset import StreamEvent
from hotset.errors import InvalidJob, ResultTimeout, UnknownJob
from hotset.jobs import State
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    stack.fleet()
    with Worker(stack) as made:
        yield made


class Reading:
    """Reads a stream on a thread of its own; `next` gives the events one by one."""

    def __init__(self, stream: Iterable[StreamEvent]) -> None:
        self._events: queue.Queue[StreamEvent | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Iterable[StreamEvent]) -> None:
        for event in stream:
            self._events.put(event)
        self._events.put(None)

    def next(self, kind: str) -> StreamEvent:
        event = self._events.get(timeout=10)
        assert event is not None and event.kind == kind, f"{event} where a {kind} was due"
        return event

    def rest(self) -> list[StreamEvent]:
        """All that is left, once the stream has ended."""
        events = []
        while (event := self._events.get(timeout=10)) is not None:
            events.append(event)
        return events


def test_every_event_comes_in_order_with_its_time(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    reading = Reading(client.stream(LIGHT, "say something", metadata={"team": "core"}))
    queued = reading.next("queued")
    (view,) = client.jobs()
    job = client.job(view.id)
    assert queued.at == job.view.arrived_at and queued.elapsed_s == 0.0 and job.view.metadata == {"team": "core"}
    run = worker.start(job.id)
    reading.next("started")
    run.say("to be", " or not")
    assert [reading.next("token").text for _ in range(2)] == ["to be", " or not"]
    run.end()
    done = reading.next("done")
    assert done.state is State.SUCCEEDED and done.result is not None and done.result.text == "to be or not"
    assert reading.rest() == []
    again = list(job.stream(timeout=5))
    assert [e.elapsed_s for e in again] == sorted(e.elapsed_s for e in again) and again[-1].elapsed_s > 0
    assert [e.text for e in again if e.kind == "token"] == ["to be", " or not"], "read again, it is the same"


def test_the_load_of_its_model_is_told(stack: Stack) -> None:
    stack.env["HOTSET_SCALE"] = "0.05"
    stack.fleet()
    client = stack.client()
    reading = Reading(client.stream(LIGHT, "say something"))
    reading.next("queued")
    stack.worker()
    loading = reading.next("loading")
    assert (loading.gpu, loading.model) == ("gpu0", "tinyllama")
    started = reading.next("started")
    assert started.elapsed_s - loading.elapsed_s > 1.5, "a load of 2 model seconds lies between"
    trace = [json.loads(line) for line in stack.trace().read_text().splitlines()]
    assert [e["model"] for e in trace if e["event"] == "load"] == ["tinyllama"]
    assert reading.rest()[-1].state is State.SUCCEEDED


def test_a_load_that_began_before_is_told_too(stack: Stack) -> None:
    """The second stream comes while the GPU loads for the first."""
    stack.env["HOTSET_SCALE"] = "0.5"
    stack.fleet().worker()
    client = stack.client()
    first = Reading(client.stream(LIGHT, "one", options={"hotset_run_s": 0.5}))
    first.next("queued")
    first.next("loading")
    second = Reading(client.stream(LIGHT, "two", options={"hotset_run_s": 0.5}))
    second.next("queued")
    second.next("loading")
    assert first.rest()[-1].state is State.SUCCEEDED and second.rest()[-1].state is State.SUCCEEDED


def test_a_stream_is_resumed_without_a_gap_or_a_repeat(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    run.say("a", "b", "c")
    stream = job.stream(timeout=10)
    had = [next(stream) for _ in range(4)]
    stream.close()
    assert [e.kind for e in had] == ["queued", "started", "token", "token"]
    run.say("d")
    # Another process, which knows the ids alone.
    other = stack.client()
    reading = Reading(other.stream_job(job.id, after=had[-1].id))
    assert [reading.next("token").text for _ in range(2)] == ["c", "d"]
    run.say("e")
    assert reading.next("token").text == "e", "live again, though the job answers to the first process"
    run.end()
    done = reading.next("done")
    assert list(other.stream_job(job.id, after=done.id)) == []
    assert "".join(e.text for e in job.stream(after=had[0].id)) == "abcde"


def test_a_connection_that_is_killed_costs_no_word(stack: Stack, worker: Worker, cache_url: str) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    reading = Reading(job.stream())
    reading.next("queued")
    reading.next("started")
    with redis.Redis.from_url(cache_url) as cache:
        for i in range(5):
            run.say(f"{i} before,")
            cache.client_kill_filter(_type="pubsub")
            run.say(f"{i} while away,")
            time.sleep(0.02 * i)
    run.say("the end")
    eventually(lambda: cache_has(cache_url, job.id, 11), within_s=5)
    said = "".join(reading.next("token").text for _ in range(11))
    run.end()
    assert said == job.result(timeout=5).text
    assert reading.rest()[0].kind == "done", "and none of it twice"


def cache_has(url: str, job_id: str, pieces: int) -> bool:
    with redis.Redis.from_url(url) as cache:
        return cache.xlen(f"hs:tokens:{job_id}:1") == pieces


def test_what_the_cache_forgot_is_filled_in_from_the_result(stack: Stack, worker: Worker, cache_url: str) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    run.say("a", "b", "c")
    stream = job.stream(timeout=10)
    had = [next(stream) for _ in range(3)]
    assert [e.text for e in had] == ["", "", "a"]
    stream.close()
    with redis.Redis.from_url(cache_url) as cache:
        cache.flushall()
    run.say("d", "e")
    eventually(lambda: cache_has(cache_url, job.id, 2), within_s=5)
    reading = Reading(job.stream(after=had[-1].id))
    run.say("f")
    run.end()
    rest = reading.rest()
    assert [e.text for e in rest if e.kind == "token"] == ["bcdef"], "nothing is said past a hole before its end"
    assert rest[-1].kind == "done"


def test_a_new_attempt_says_so_and_is_never_spliced(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    run.say("wrong words")
    reading = Reading(job.stream())
    reading.next("queued")
    assert not reading.next("started").restarted
    had = reading.next("token")
    run.hand_back()
    again = worker.start(job.id)
    again.say("right words")
    restarted = reading.next("started")
    assert restarted.restarted and restarted.attempt == 2
    assert reading.next("token").text == "right words"
    again.end()
    assert reading.next("done").state is State.SUCCEEDED
    resumed = list(client.stream_job(job.id, after=had.id))
    assert [(e.kind, e.restarted) for e in resumed] == [("started", True), ("token", False), ("done", False)]


def test_a_job_that_sends_no_tokens_is_followed_all_the_same(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x")
    reading = Reading(job.stream())
    reading.next("queued")
    run = worker.start(job.id)
    reading.next("started")
    run.end("all at once")
    assert [(e.kind, e.text) for e in reading.rest()] == [("token", "all at once"), ("done", "")]


def test_a_failed_job_ends_its_stream_with_the_reason(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    run.say("half a")
    run.end(state=State.FAILED, error="it broke")
    events = list(job.stream(timeout=5))
    assert [e.text for e in events if e.kind == "token"] == ["half a"]
    assert events[-1].state is State.FAILED and events[-1].error == "it broke"


def test_a_stream_that_cannot_be(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x")
    with pytest.raises(ResultTimeout):
        list(job.stream(timeout=0.1))
    with pytest.raises(InvalidJob, match="no id of an event"):
        job.stream(after="yesterday").__next__()
    with pytest.raises(UnknownJob):
        list(stack.client(tenant="another").stream_job(job.id))
    with pytest.raises(InvalidJob):
        next(client.stream(LIGHT, " "))
    eventually(lambda: client._listener.waiting == 0, within_s=5)


def test_the_same_key_follows_the_same_job(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    first = client.submit(LIGHT, "x", idempotency_key="pr-42", stream=True)
    worker.start(first.id).end("once")
    events = list(client.stream(LIGHT, "x", idempotency_key="pr-42", timeout=5))
    assert "".join(e.text for e in events) == "once"
    assert len(client.jobs()) == 1


def test_a_cache_that_is_away_for_a_moment_delays_words_and_loses_none(stack: Stack, worker: Worker) -> None:
    """The worker holds its messages meanwhile: here they cannot be sent at first, as to a server that restarts."""
    client = stack.client()
    job = client.submit(LIGHT, "x", stream=True)
    run = worker.start(job.id)
    reading = Reading(job.stream())
    reading.next("queued")
    reading.next("started")
    pool = worker.replies.redis.connection_pool
    good = dict(pool.connection_kwargs)
    eventually(lambda: not pool._in_use_connections, within_s=5)  # the sender may still read the answer to "started"
    pool.disconnect()
    pool.connection_kwargs["port"] = 1
    run.say("a", "b")
    time.sleep(0.3)
    pool.connection_kwargs.update(good)
    assert [reading.next("token").text for _ in range(2)] == ["a", "b"]
    run.end()
    assert [e.kind for e in reading.rest()] == ["done"]
