"""A pause holds on a real worker, through restarts and a flush of the broker, and ends when it is told to."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import redis

from hotset.errors import UsageError
from hotset.jobs import State
from hotset.jobs.filters import AuditFilter
from hotset.store import ledger, make_engine, pauses
from stack import Stack, eventually

LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"


def loads(trace: Path) -> list[str]:
    if not trace.exists():
        return []
    return [e["model"] for e in map(json.loads, trace.read_text().splitlines()) if e["event"] == "load"]


def test_a_pause_is_one_row_and_is_audited(stack: Stack) -> None:
    client = stack.fleet().client()
    assert client.pause("queue", "qwen", reason="new weights")
    assert not client.pause("queue", "qwen", reason="another")
    (pause,) = client.pauses()
    assert (pause.kind, pause.name, pause.reason) == ("queue", "qwen", "new weights")
    assert client.resume("queue", "qwen") and not client.resume("queue", "qwen") and client.pauses() == []
    assert [(r["action"], r["detail"]["name"]) for r in client.audit_log(AuditFilter())] == [
        ("pause", "qwen"),
        ("resume", "qwen"),
    ]
    for kind, name in (("queue", "qwenn"), ("gpu", "gpu7")):
        with pytest.raises(UsageError, match=name):
            client.pause(kind, name)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=name):
            client.resume(kind, name)  # type: ignore[arg-type]


def test_a_name_that_the_fleet_lost_can_be_resumed(stack: Stack) -> None:
    client = stack.fleet().client()
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")
    pauses.pause(engine, "gpu", "gpu9", tenant="default", actor="me")
    engine.dispose()
    assert client.resume("gpu", "gpu9") and client.pauses() == []


def test_a_paused_queue_starts_nothing_and_what_runs_ends(stack: Stack, broker_url: str) -> None:
    worker = stack.fleet().worker()
    client = stack.client()
    long = client.submit(LIGHT, "long", options={"hotset_run_s": 300})
    eventually(lambda: long.status is State.RUNNING, within_s=20, message=stack.log)
    client.pause("queue", "tinyllama")
    time.sleep(1.5)  # a worker looks once a second
    waiting = client.submit_many((LIGHT, f"later {i}") for i in range(3))
    other = client.submit(BALANCED, "goes on")
    assert other.result(timeout=120)
    assert long.result(timeout=120), "what ran before the pause ends"
    assert {job.status for job in waiting} == {State.QUEUED}
    # Neither a restart nor a flush of the broker ends it.
    stack.kill(worker, signal.SIGTERM)
    with redis.Redis.from_url(broker_url) as broker:
        broker.flushall()
    stack.worker()
    assert client.submit(BALANCED, "goes on again").result(timeout=120)
    assert {job.status for job in waiting} == {State.QUEUED}
    client.resume("queue", "tinyllama")
    assert all(job.result(timeout=120) for job in waiting)


def test_a_paused_gpu_loads_nothing_and_another_takes_over(stack: Stack) -> None:
    stack.fleet(gpus=2)
    client = stack.client()
    client.pause("gpu", "gpu0", reason="fan")
    for gpu in ("gpu0", "gpu1"):
        stack.worker(gpu)
    jobs = client.submit_many((agent, f"job {i}") for i in range(6) for agent in (LIGHT, BALANCED))
    for job in jobs:
        assert job.result(timeout=120)
    assert {(job.view.worker or "").split("@")[0] for job in jobs} == {"gpu1"}
    assert loads(stack.trace("gpu0")) == [] and loads(stack.trace("gpu1"))
    # It comes back, and helps with a backlog.
    client.resume("gpu", "gpu0")
    more = client.submit_many(
        {"agent": LIGHT, "prompt": f"more {i}", "options": {"hotset_run_s": 30}} for i in range(30)
    )
    for job in more:
        job.result(timeout=120)
    assert {(job.view.worker or "").split("@")[0] for job in more} == {"gpu0", "gpu1"}


def test_a_switch_that_waits_for_a_long_run_is_given_up_when_its_queue_is_paused(stack: Stack) -> None:
    """And the jobs of the model that would have gone start again, beside the long run."""
    stack.fleet().worker()
    client = stack.client()
    long = client.submit(LIGHT, "long", options={"hotset_run_s": 50_000})
    eventually(lambda: long.status is State.RUNNING, within_s=20, message=stack.log)
    client.submit(COMPLEX, "cannot be loaded beside it")
    eventually(lambda: "load deepseek-r1:8b, evict ['tinyllama']" in stack.log(), within_s=20, message=stack.log)
    quick = client.submit(LIGHT, "quick")
    time.sleep(0.5)
    assert quick.status is State.QUEUED, "its model drains"
    client.pause("queue", "deepseek")
    assert quick.result(timeout=120)
    assert long.status is State.RUNNING and "is given up" in stack.log()
    eventually(lambda: any(s.ok is False for s in ledger.swaps(client.engine)), within_s=10)
    (swap,) = [s for s in ledger.swaps(client.engine) if s.ok is False]
    assert swap.model == "deepseek-r1:8b" and (swap.error or "").startswith("given up: No job waits")
    long.cancel()
