"""A real worker on real servers and a simulated GPU: what agents rely upon."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
import redis
from celery import Celery

from hotset.errors import JobFailed
from hotset.jobs import State
from hotset.store import make_engine
from kills import kill_under_load
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"


def test_jobs_of_three_tiers_end_once_with_results_and_audit(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    names = [LIGHT, BALANCED, COMPLEX] * 6
    jobs = client.submit_many((name, f"task {i}") for i, name in enumerate(names))
    results = [job.result(timeout=120) for job in jobs]
    assert {r.model for r in results} == {"tinyllama", "qwen2.5-coder:7b", "deepseek-r1:8b"}
    assert all(r.simulated and r.text.startswith("[simulated]") and r.usage["output_tokens"] > 0 for r in results)
    assert any(r.thinking for r in results if r.model.startswith("deepseek"))
    for job in jobs:
        assert [row["action"] for row in client.audit(job.id)] == ["accept", "claim", "succeeded"]
        assert job.view.attempt == 1
    events = [json.loads(line) for line in stack.trace().read_text().splitlines()]
    loads = Counter(e["model"] for e in events if e["event"] == "load")
    # Batched by model: each is loaded once for this backlog, and once more at most.
    assert sum(loads.values()) <= 4, loads


def test_tokens_reach_who_asked_and_nobody_else(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    job = client.submit(LIGHT, "say something", stream=True)
    events = list(job.stream(timeout=30))
    assert [e.kind for e in events if e.kind != "token"] == ["queued", "loading", "started", "done"]
    assert events[-1].kind == "done" and events[-1].state is State.SUCCEEDED
    said = "".join(e.text for e in events)
    assert said == job.result().text
    quiet = client.submit(LIGHT, "say something", stream=False)
    assert len([e for e in quiet.stream(timeout=30) if e.kind == "token"]) == 1, "the whole answer at its end"


def test_a_stream_read_after_the_end_still_gives_every_token(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    job = client.submit(LIGHT, "say something", stream=True)
    result = client.submit(LIGHT, "another").result(timeout=120) and job.result(timeout=120)
    said = ""
    for event in job.stream(timeout=30):
        # A worker that gets no CPU for longer than its lease runs the job anew.
        said = "" if event.kind == "started" else said + event.text
    assert said == result.text


def test_a_running_job_is_cancelled_and_frees_its_slot(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    long = client.submit(LIGHT, "count", options={"hotset_run_s": 5000})
    eventually(lambda: long.status is State.RUNNING, within_s=20)
    assert long.cancel("superseded")
    eventually(lambda: long.status is State.CANCELLED, within_s=5)
    with pytest.raises(JobFailed, match="cancelled"):
        long.result(timeout=1)
    assert client.submit(LIGHT, "quick").result(timeout=120)
    assert not long.cancel()


def test_a_waiting_job_is_cancelled_without_a_run(stack: Stack) -> None:
    stack.fleet()
    client = stack.client()
    job = client.submit(LIGHT, "never runs")
    assert job.cancel()
    stack.worker()
    assert client.submit(LIGHT, "runs").result(timeout=120)
    assert job.view.attempt == 0 and job.status is State.CANCELLED


def test_run_timeout_fails_the_job_and_is_not_retried(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    job = client.submit(LIGHT, "count", run_timeout=20, options={"hotset_run_s": 5000})
    with pytest.raises(JobFailed, match="run_timeout"):
        job.result(timeout=120)
    assert job.view.error_kind == "RunTimeout" and job.view.attempt == 1


def test_queue_timeout_expires_a_job_that_did_not_start(stack: Stack) -> None:
    # The fleet's file names the GPU, but no worker can load anything: the job cannot start.
    stack.fleet()
    client = stack.client()
    job = client.submit(LIGHT, "too late", queue_timeout=1)
    time.sleep(0.1)
    stack.worker()
    eventually(lambda: job.status is State.EXPIRED, within_s=20)
    assert job.view.attempt == 0


def test_scheduled_jobs_start_at_their_time(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    job = client.submit(LIGHT, "later", not_before=150)
    assert job.status is State.SCHEDULED
    assert job.result(timeout=120)
    view = job.view
    assert view.wait_s is not None and view.wait_s >= 150


def test_errors_that_may_pass_are_retried_with_back_off_and_then_fail(stack: Stack) -> None:
    stack.fleet().worker()
    client = stack.client()
    job = client.submit(LIGHT, "x", max_retries=2, options={"hotset_fault": "cut", "hotset_run_s": 5})
    with pytest.raises(JobFailed, match="broke"):
        job.result(timeout=120)
    view = job.view
    assert (view.attempt, view.failures, view.crashes, view.error_kind) == (3, 3, 0, "GenerationFailed")
    actions = [row["action"] for row in client.audit(job.id)]
    assert actions == ["accept", "claim", "retry", "claim", "retry", "claim", "failed"]


def test_a_model_that_hangs_keeps_no_slot(stack: Stack) -> None:
    stack.fleet().worker(HOTSET_FIRST_TOKEN_TIMEOUT_S="0.5")
    client = stack.client()
    hung = client.submit_many(
        {"agent": LIGHT, "prompt": "x", "max_retries": 0, "options": {"hotset_fault": "hang"}} for _ in range(2)
    )
    assert client.submit(LIGHT, "behind them").result(timeout=120)
    for job in hung:
        with pytest.raises(JobFailed):
            job.result(timeout=120)


def test_a_job_handed_back_at_a_stop_counts_as_no_failure(stack: Stack) -> None:
    worker = stack.fleet().worker(HOTSET_STOP_GRACE_S="1")
    client = stack.client()
    long = client.submit(LIGHT, "long", options={"hotset_run_s": 3000})
    eventually(lambda: long.status is State.RUNNING, within_s=20)
    began = time.monotonic()
    stack.kill(worker, signal.SIGTERM)
    assert time.monotonic() - began < 30
    view = long.view
    assert (view.state, view.failures, view.crashes) == (State.QUEUED, 0, 0)
    assert [row["action"] for row in client.audit(long.id)] == ["accept", "claim", "release"]


def test_a_plain_celery_producer_is_served(stack: Stack, broker_url: str) -> None:
    """Any stock producer LPUSHes to the queue's list: the row is made at first sight, its id is the task's."""
    stack.fleet().worker()
    client = stack.client()
    producer = Celery("elsewhere", broker=broker_url, set_as_current=False)
    producer.conf.task_default_exchange = ""
    sent = producer.send_task("hotset.run", kwargs={"agent": LIGHT, "prompt": "from afar"}, queue="tinyllama")
    bad = producer.send_task("hotset.run", kwargs={"agent": "nobody", "prompt": "x"}, queue="tinyllama")
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")

    def there() -> bool:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT state FROM jobs WHERE id = %s", (sent.id,)).all()
        return bool(rows) and rows[0].state == "succeeded"

    eventually(there, within_s=30, message=stack.log)
    assert client.job(sent.id).result(timeout=5).text
    with engine.connect() as connection:
        query = "SELECT detail ->> 'reason' AS reason FROM audit WHERE action = 'refused' AND job_id = %s"
        eventually(lambda: bool(connection.exec_driver_sql(query, (bad.id,)).all()), within_s=20)
        assert "nobody" in connection.exec_driver_sql(query, (bad.id,)).one().reason
    engine.dispose()
    producer.close()


def test_a_flushed_broker_loses_nothing(stack: Stack, broker_url: str) -> None:
    stack.fleet()
    client = stack.client()
    jobs = client.submit_many((LIGHT, f"job {i}") for i in range(20))
    time.sleep(0.2)  # the marks are written
    with redis.Redis.from_url(broker_url) as broker:
        broker.flushall()
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")
    with engine.connect() as connection:
        # As if they had been published a while ago: the comparison leaves the newest alone.
        connection.exec_driver_sql("UPDATE jobs SET published_at = now() - interval '1 minute'")
    engine.dispose()
    stack.worker()
    assert [job.result(timeout=120) for job in jobs]
    assert all(job.view.attempt == 1 for job in jobs)


def test_two_workers_share_a_backlog(stack: Stack) -> None:
    stack.fleet(gpus=2)
    client = stack.client()
    jobs = client.submit_many((LIGHT, f"job {i}") for i in range(80))
    for gpu in ("gpu0", "gpu1"):
        stack.worker(gpu)
    for job in jobs:
        job.result(timeout=120)
    by_gpu = Counter((job.view.worker or "").split("@")[0] for job in jobs)
    assert set(by_gpu) == {"gpu0", "gpu1"} and min(by_gpu.values()) >= 8, by_gpu


def test_kills_lose_and_double_nothing(stack: Stack) -> None:
    """Scaled down from tests/chaos: a few kills under load, nothing lost, nothing committed twice."""
    figures = kill_under_load(stack, kills=6, jobs=60)
    assert figures["lost"] == 0 and figures["doubled"] == 0 and figures["hits"] > 0, figures
