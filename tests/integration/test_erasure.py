"""Erasure: what was said goes, what happened stays, and the audit's seals hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset import Client, load_settings
from hotset.broker.replies import forget_tokens
from hotset.errors import IdempotencyConflict, IllegalTransition, UnknownJob
from hotset.jobs import NewJob, Outcome, State
from hotset.jobs.filters import JobFilter
from hotset.store import JobStore, erasure, make_engine, seals
from hotset.store.conservation import audit_conservation

SECRET = "my-secret-words"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database, application="test")
    yield engine
    engine.dispose()


def ended(store: JobStore, state: State = State.SUCCEEDED, **changes: Any) -> UUID:
    values = {"id": uuid7(), "agent": "qa-team-lead", "queue": "qwen", "prompt": f"{SECRET} 1"}
    values |= {"metadata": {"name": f"{SECRET} 2"}, "options": {"stop": [f"{SECRET} 3"]}}
    job = NewJob(**values | changes)
    store.accept([job], actor="test")
    attempt = store.claim(job.id, worker="w", lease_s=30)
    assert attempt is not None
    kind = None if state is State.SUCCEEDED else "GenerationFailed"
    error = None if kind is None else f"the model said: {SECRET} 4"
    outcome = Outcome(
        state, text=f"{SECRET} 5", thinking=f"{SECRET} 6", model="m", simulated=True, usage={"output_tokens": 3},
        error_kind=kind, error=error,
    )  # fmt: skip
    assert store.finish(job.id, attempt.number, outcome, worker="w")
    return job.id


def everywhere(engine: Engine) -> str:
    """All that Postgres holds of jobs, as text."""
    query = "SELECT string_agg(t::text, ' ') FROM (SELECT to_jsonb({0}) AS t FROM {0}) AS rows"
    with engine.connect() as connection:
        tables = ("jobs", "results", "audit", "flows")
        return " ".join(connection.exec_driver_sql(query.format(name)).scalar_one() or "" for name in tables)


def erase(engine: Engine, **which: Any) -> int:
    return erasure.erase(engine, **{"tenant": "default", "actor": "test", **which})


def test_what_was_said_goes_and_what_happened_stays(engine: Engine) -> None:
    store = JobStore(engine)
    done = [ended(store), ended(store, State.FAILED), ended(store, idempotency_key="k")]
    other = ended(store, tenant="acme", prompt="another's words", metadata={}, options={})
    seals.seal(engine, by="test")
    before = store.get(done)
    assert everywhere(engine).count(SECRET) == 16
    assert erase(engine, reason="asked for") == 3
    said = everywhere(engine)
    assert said.count(SECRET) == 2 and "another's words" in said, "the other tenant's answer"
    after = store.get([*done, other])
    for job in done:
        for name in ("state", "agent", "attempt", "arrived_at", "finished_at", "worker", "error_kind"):
            assert getattr(after[job], name) == getattr(before[job], name)
        last = store.audit(job)[-1]
        assert (last["action"], last["actor"], last["detail"]) == ("erased", "test", {"reason": "asked for"})
    assert after[done[0]].result is not None and after[done[0]].result.usage == {"output_tokens": 3}
    seals.seal(engine, by="test")
    found = audit_conservation(engine)
    assert found.whole and found.chain.entries > 0 and found.chain.unsealed == 0
    assert erase(engine) == 0 and erasure.look(engine, tenant="default") == erasure.Look(jobs=3, open=0, erased=3)


def test_one_job_of_the_tenant_alone(engine: Engine) -> None:
    store = JobStore(engine)
    first, second, foreign = ended(store), ended(store), ended(store, tenant="acme")
    assert erase(engine, ids=[first]) == 1
    assert everywhere(engine).count(SECRET) == 10
    with pytest.raises(UnknownJob, match=str(foreign)):
        erase(engine, ids=[second, foreign])
    assert everywhere(engine).count(SECRET) == 10


def test_open_jobs_are_refused_and_nothing_is_erased(engine: Engine) -> None:
    store = JobStore(engine)
    done = ended(store)
    waiting = NewJob(id=uuid7(), agent="qa-team-lead", queue="qwen", prompt="x")
    store.accept([waiting], actor="test")
    for which in ({}, {"ids": [done, waiting.id]}):
        with pytest.raises(IllegalTransition, match=r"1 job has not ended.*nothing was erased"):
            erase(engine, **which)
    assert everywhere(engine).count(SECRET) == 5
    store.cancel(waiting.id, actor="test", reason="to be erased")
    assert erase(engine) == 2


def test_an_answer_that_others_still_ask_for_is_not_erased(engine: Engine) -> None:
    store = JobStore(engine)
    flow = uuid7()
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO flows (id, tenant, shape, body_hash) VALUES (%s, 'default', '0', 'x')", (flow,)
        )
    first = ended(store)
    second = NewJob(id=uuid7(), agent="qa-team-lead", queue="qwen", prompt="x {prev}")
    store.accept([second], actor="test")
    with engine.connect() as connection:
        query = "UPDATE jobs SET flow = %s, step = %s WHERE id = %s"
        connection.exec_driver_sql(query, (flow, 0, first))
        connection.exec_driver_sql(query, (flow, 1, second.id))
    with pytest.raises(IllegalTransition, match="flow that goes on"):
        erase(engine, ids=[first])


def test_what_is_erased_is_not_run_again(engine: Engine, database: str, broker_url: str, cache_url: str) -> None:
    store = JobStore(engine)
    job, other = ended(store, State.FAILED), ended(store, State.FAILED)
    erase(engine, ids=[job])
    environ = {"HOTSET_DATABASE_URL": database, "HOTSET_BROKER_URL": broker_url, "HOTSET_CACHE_URL": cache_url}
    with Client(settings=load_settings(environ)) as client:
        with pytest.raises(IllegalTransition, match="was erased"):
            client.retry(job)
        again = client.retry_all(JobFilter())
        assert [j.view.replay_of for j in again] == [other]


def test_an_idempotency_key_keeps_its_job(engine: Engine) -> None:
    """The same work is not done a second time because its words are gone."""
    store = JobStore(engine)
    ended(store, idempotency_key="k")
    erase(engine)
    with pytest.raises(IdempotencyConflict):
        ended(store, idempotency_key="k")


def test_token_streams_leave_the_cache(engine: Engine, cache_url: str) -> None:
    store = JobStore(engine)
    job, other = ended(store), ended(store)
    with redis.Redis.from_url(cache_url) as cache:
        for i in (job, other):
            cache.xadd(f"hs:tokens:{i}:1", {"e": SECRET})
        erase(engine, ids=[job])
        found = erasure.streamed(engine, tenant="default", ids=None, within_s=60)
        assert found == {job: 1}
        forget_tokens(cache, found)
        assert cache.keys("*") == [f"hs:tokens:{other}:1".encode()]
