"""The client as a program uses it every day: handles, waits, batches, cancels, forks."""

from __future__ import annotations

import io
import os
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from rich.console import Console

from byhand import Worker
from hotset import Client
from hotset.client.progress import Progress, SwapCount
from hotset.errors import IdempotencyConflict, InvalidBatch, JobFailed, ResultTimeout, UnknownAgent, UnknownJob
from hotset.jobs import Priority, State
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    stack.fleet()
    with Worker(stack) as made:
        yield made


def test_everything_that_may_be_asked_of_a_job_is_kept(stack: Stack, worker: Worker) -> None:
    client = stack.client(tenant="acme")
    job = client.submit(
        BALANCED,
        "Write …",
        priority="high",
        deadline="15m",
        queue_timeout="1h",
        run_timeout="5m",
        not_before=datetime.now(UTC) + timedelta(hours=1),
        idempotency_key="pr-42",
        metadata={"team": "core"},
        options={"temperature": 0.1},
    )
    view = job.view
    assert (view.tenant, view.priority, view.metadata, view.state) == (
        "acme",
        Priority.HIGH,
        {"team": "core"},
        State.SCHEDULED,
    )
    # The stack's time runs a hundred times as fast: 15 model minutes are 9 seconds.
    assert view.deadline_at - view.arrived_at == timedelta(seconds=9)
    assert job.position is None, "it is in no queue yet"
    with pytest.raises(IdempotencyConflict, match="pr-42"):
        client.submit(BALANCED, "Write something else", idempotency_key="pr-42")
    with pytest.raises(UnknownAgent, match="senior-backend-developer"):
        client.submit("senior-backend-develper", "x")
    with pytest.raises(UnknownJob):
        stack.client().job(job.id)


def test_a_result_says_what_it_is(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    job = client.submit(LIGHT, "x")
    worker.finish(job.id, "word " * 100)
    result = job.result(timeout=5)
    assert (len(result.text), result.thinking, result.model, result.simulated) == (500, "", "m", True)
    assert len(repr(result)) < 200 and "word word" in repr(result) and "chars=500" in repr(result)
    assert repr(job) == f"Job({job.id}, succeeded)" and job.error is None
    with pytest.raises(ResultTimeout):
        client.submit(LIGHT, "never").result(timeout=0.05)


def test_the_position_follows_the_order_in_which_jobs_are_picked(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    late = client.submit(LIGHT, "late", deadline=20_000)
    soon = client.submit(LIGHT, "soon", deadline=10_000)
    low = client.submit(LIGHT, "low", priority="low", deadline=10_000)
    high = client.submit(LIGHT, "high", priority="high", deadline=30_000)
    elsewhere = client.submit(BALANCED, "another queue")
    assert [j.position for j in (high, soon, late, low, elsewhere)] == [0, 1, 2, 3, 0]
    hopeless = client.submit(LIGHT, "hopeless", deadline=0.1)
    time.sleep(0.01)
    assert hopeless.position == 3, "those that can still meet their deadline go first"
    assert soon.cancel()
    assert (soon.position, late.position) == (None, 1)
    worker.start(high.id)
    assert high.position is None and late.position == 1, "claimed in Postgres, its lane has it still"


def test_who_waits_hears_of_a_cancel_at_once(stack: Stack, worker: Worker) -> None:
    """Here, in the same process, and in another that waits for the job."""
    client, other = stack.client(), stack.client()
    job = client.submit(LIGHT, "x")
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(handle.result, 30) for handle in (job, other.job(job.id))]
        eventually(lambda: client._listener.waiting == other._listener.waiting == 1, within_s=5)
        time.sleep(0.3)
        began = time.monotonic()
        assert client.job(job.id).cancel(reason="superseded")
        for wait in waits:
            with pytest.raises(JobFailed, match="cancelled"):
                wait.result(timeout=120)
        assert time.monotonic() - began < 5
    assert client.audit(job.id)[-1]["detail"]["reason"] == "superseded"
    assert not job.cancel()


def test_another_process_than_the_submitter_hears_of_the_end_at_once(stack: Stack, worker: Worker) -> None:
    job = stack.client().submit(LIGHT, "x")
    other = stack.client().job(job.id)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(other.result, 30)
        time.sleep(0.3)
        worker.finish(job.id)
        assert wait.result(timeout=5).text == "done"


def test_jobs_come_as_they_end_and_failures_do_not_stop_them(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    jobs = client.submit_many((LIGHT, f"job {i}") for i in range(6))
    worker.finish(jobs[4].id, "first")
    as_they_end = jobs.as_completed(timeout=10)
    assert next(as_they_end).id == jobs[4].id
    worker.start(jobs[1].id).end(state=State.FAILED, error="it broke")
    failed = next(as_they_end)
    assert (failed.id, failed.view.state, failed.error) == (jobs[1].id, State.FAILED, "it broke")
    assert jobs[0].cancel()
    gone = next(as_they_end)
    assert gone.id == jobs[0].id and "cancelled" in str(gone.error)
    for job in (jobs[5], jobs[2], jobs[3]):
        worker.finish(job.id)
    assert {job.id for job in as_they_end} == {jobs[i].id for i in (2, 3, 5)}
    assert {job.id for job in jobs.as_completed(timeout=1)} == {job.id for job in jobs}, "again, from what is known"
    with pytest.raises(JobFailed):
        jobs.results(timeout=5)
    assert client._listener.waiting == 0


def test_results_in_order_and_a_batch_that_is_cancelled(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    jobs = client.submit_many([(LIGHT, "a"), (LIGHT, "b")])
    for job in reversed(jobs):
        worker.finish(job.id, job.id)
    assert [r.text for r in jobs.results(timeout=5)] == [job.id for job in jobs]
    more = client.submit_many((LIGHT, f"{i}") for i in range(5))
    with pytest.raises(ResultTimeout, match="5 jobs"):
        list(more.as_completed(timeout=0.05))
    assert more.cancel(reason="enough") == 5 and more.cancel() == 0
    assert {job.view.state for job in more.as_completed(timeout=5)} == {State.CANCELLED}
    twice = client.submit_many([{"agent": LIGHT, "prompt": "x", "idempotency_key": "k"}] * 1 + [(LIGHT, "y")])
    same = client.submit_many([{"agent": LIGHT, "prompt": "x", "idempotency_key": "k"}])
    assert same[0] == twice[0] and same[0] is not twice[0]
    with pytest.raises(InvalidBatch, match="Row 1"):
        client.submit_many([(LIGHT, "ok"), ("nobody", "x")])


def test_many_waiters_cost_few_reads(stack: Stack, worker: Worker) -> None:
    client = stack.client()
    jobs = client.submit_many((LIGHT, f"job {i}") for i in range(60))
    reads: list[str] = []
    from sqlalchemy import event

    event.listen(client._engines[0], "before_cursor_execute", lambda *a: reads.append(a[2]))
    with ThreadPoolExecutor(60) as pool:
        waits = [pool.submit(job.result, 30) for job in jobs]
        eventually(lambda: client._listener.waiting == 60, within_s=5)
        for job in jobs:
            worker.finish(job.id)
        assert all(wait.result(timeout=120).text == "done" for wait in waits)
    assert len(reads) <= 70, "one a job at most, as it ends; the looks at the beginning were made together"


def test_a_bar_counts_jobs_and_swaps_on_a_terminal_alone() -> None:
    for terminal in (True, False):
        console = Console(record=True, force_terminal=terminal, width=100, file=io.StringIO())
        bar = Progress(3, console)
        bar.swapped({("gpu0", "a"): 5})
        bar.advance()
        bar.swapped({("gpu0", "a"): 7, ("gpu1", "b"): 1})
        bar.close()
        said = console.export_text()
        assert ("1/3" in said and "3 swaps" in said) is terminal


def test_swaps_of_a_worker_that_went_and_came_are_not_lost() -> None:
    count = SwapCount()
    assert count.look({("gpu0", "a"): 10}) == 0
    assert count.look({("gpu0", "a"): 12}) == 2
    assert count.look({}) == 2
    assert count.look({("gpu0", "b"): 3}) == 5


def test_a_client_works_on_in_the_child_of_a_fork(stack: Stack, worker: Worker) -> None:
    """Its locks may be held by threads that the child does not have, and its sockets are the parent's."""
    client = stack.client()
    parents = client.submit(LIGHT, "the parent's")
    waiting = threading.Thread(target=parents.result, args=(30,))
    waiting.start()
    eventually(lambda: client._listener.waiting == 1, within_s=5)
    held = threading.Event()
    release = threading.Event()

    def hold_every_lock() -> None:
        with client._listener._lock, client._marks._lock, client._listener.reader._asked, client._connecting:
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold_every_lock)
    holder.start()
    assert held.wait(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: that is the point
        pid = os.fork()
    if pid == 0:
        _in_child(client, parents.id)
    release.set()
    holder.join()
    eventually(lambda: len(client.jobs()) == 2, within_s=10)
    for view in client.jobs():
        worker.finish(str(view.id), "heard")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    waiting.join(timeout=10)
    assert not waiting.is_alive() and client.submit(LIGHT, "the parent goes on").status is State.QUEUED


def _in_child(client: Client, parents: str) -> None:
    status = 1
    try:
        mine = client.submit(LIGHT, "the child's")
        texts: list[Any] = [job.result(timeout=120).text for job in (mine, client.job(parents))]
        status = 0 if texts == ["heard", "heard"] else 2
    finally:
        os._exit(status)


def test_waiting_goes_on_without_a_cache(stack: Stack, worker: Worker, cache_url: str) -> None:
    """The address leads nowhere: answers are looked up in Postgres."""
    client = stack.client(cache_url="redis://127.0.0.1:1/0")
    job = client.submit(LIGHT, "x")
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(job.result, 30)
        time.sleep(0.2)
        worker.finish(job.id, "found")
        assert wait.result(timeout=120).text == "found"
    with redis.Redis.from_url(cache_url) as cache:
        assert cache.pubsub_channels(f"hs:wake:{client.name}") == []
