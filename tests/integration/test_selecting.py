"""Lists, bulk changes and the audit's follower on a real Postgres."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset.errors import UnknownJob
from hotset.jobs import NewJob, Outcome, Priority, State
from hotset.jobs.filters import EVERY_TENANT, AuditFilter, JobFilter
from hotset.store import JobStore, overview, selecting


def accept(store: JobStore, count: int = 1, **changes: object) -> list[UUID]:
    values = {"agent": "qa-team-lead", "queue": "qwen", "prompt": "x", **changes}
    jobs = [NewJob(id=uuid7(), **values) for _ in range(count)]  # type: ignore[arg-type]
    store.accept(jobs, actor="test")
    return [job.id for job in jobs]


def found(store: JobStore, **wanted: object) -> set[UUID]:
    return {view.id for view in selecting.find(store, JobFilter(**wanted))}  # type: ignore[arg-type]


def test_each_filter_leaves_out_what_it_should(store: JobStore) -> None:
    plain = accept(store)[0]
    other = accept(
        store, agent="system-architect", queue="deepseek", tenant="them", metadata={"team": "core", "nr": 5, "on": True}
    )[0]
    assert found(store) == {plain, other} == found(store, tenant=EVERY_TENANT)
    assert found(store, tenant="them") == {other} and found(store, tenant="default") == {plain}
    assert found(store, agent="system-architect") == {other} == found(store, queue="deepseek")
    assert found(store, metadata={"team": "core"}) == {other} == found(store, metadata={"nr": "5", "on": "true"})
    assert found(store, metadata={"team": "core", "nr": "6"}) == set() == found(store, metadata={"team": "' OR 1=1 --"})
    assert found(store, ids=(plain,)) == {plain}
    now = datetime.now(UTC)
    assert found(store, since=now + timedelta(seconds=5)) == set() == found(store, until=now - timedelta(seconds=5))
    assert found(store, since=now - timedelta(minutes=1), until=now + timedelta(minutes=1)) == {plain, other}
    attempt = store.claim(plain, worker="w", lease_s=9)
    assert attempt is not None
    store.finish(plain, 1, Outcome(State.FAILED, model="m", error_kind="RunTimeout", error="late"), worker="w")
    assert found(store, states=frozenset({State.FAILED})) == {plain} == found(store, error_kind="RunTimeout")
    assert selecting.count(store.engine, JobFilter(states=frozenset({State.QUEUED}))) == 1


def test_pages_meet_without_gap_or_overlap(store: JobStore) -> None:
    # All of a transaction arrive at the same moment: the id alone tells them apart.
    ids = accept(store, 7) + accept(store, 4)
    pages: list[list[UUID]] = []
    after = None
    while page := [view.id for view in selecting.find(store, JobFilter(limit=3, after=after))]:
        pages.append(page)
        after = page[-1]
    assert [len(page) for page in pages] == [3, 3, 3, 2]
    assert [i for page in pages for i in page] == sorted(ids, reverse=True)
    with pytest.raises(UnknownJob):
        selecting.find(store, JobFilter(after=UUID(int=7)))


def test_a_bulk_cancel_does_what_single_ones_would(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "CHUNK", 4)
    running = accept(store, reply_to="me")[0]
    assert store.claim(running, worker="w", lease_s=9)
    waiting = accept(store, 9, reply_to="me")
    later = accept(store, not_before_s=999)[0]
    elsewhere, theirs = accept(store, queue="deepseek")[0], accept(store, tenant="them")[0]
    wanted = JobFilter(queue="qwen", tenant="default")
    assert selecting.count_cancellable(store.engine, wanted) == 11
    chunks = list(selecting.cancel(store.engine, wanted, actor="me", reason="enough"))
    assert [len(chunk) for chunk in chunks] == [4, 4, 3]
    assert {job.id for chunk in chunks for job in chunk if job.state is State.RUNNING} == {running}
    for job_id in (*waiting, later):
        assert [(row["action"], row["actor"]) for row in store.audit(job_id)][-1] == ("cancelled", "me")
        assert store.audit(job_id)[-1]["detail"] == {"reason": "enough"}
    assert store.audit(running)[-1]["action"] == "cancel-asked"
    assert store.renew({running: 1}, lease_s=9) == {running: "enough"}
    assert found(store, states=frozenset({State.CANCELLED})) == {*waiting, later}
    assert found(store, states=frozenset({State.QUEUED})) == {elsewhere, theirs}
    # The running one was asked once, and is not asked again.
    assert list(selecting.cancel(store.engine, wanted, actor="me", reason="again")) == []
    assert [row["action"] for row in store.audit(running)] == ["accept", "claim", "cancel-asked"]


def test_a_bulk_cancel_waits_for_rows_that_others_hold(store: JobStore, engine: Engine) -> None:
    held, free = accept(store, 2)
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as other:
        other.exec_driver_sql("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", (held,))
        cancelling = selecting.cancel(engine, JobFilter(), actor="me", reason="enough")
        assert [job.id for job in next(cancelling)] == [free]
        threading.Timer(0.2, other.rollback).start()
        assert [job.id for chunk in cancelling for job in chunk] == [held]


def test_the_follower_of_the_audit_misses_no_late_commit(store: JobStore, engine: Engine) -> None:
    insert = "INSERT INTO audit (tenant, actor, action) VALUES ('default', 'me', %s)"
    began = datetime.now(UTC)
    follow = selecting.AuditTail(engine, AuditFilter(actor="me"), since=began)
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as slow, engine.connect() as quick:
        slow.exec_driver_sql(insert, ("slow",))  # its time is now, its commit comes later
        quick.exec_driver_sql(insert, ("quick",))
        accept(store)  # of another actor
        assert [row["action"] for row in follow.read()] == ["quick"]
        slow.commit()
        assert [row["action"] for row in follow.read()] == ["slow"]
        assert follow.read() == []
        quick.exec_driver_sql(insert, ("next",))
        assert [row["action"] for row in follow.read()] == ["next"]


def test_audit_rows_by_filter(store: JobStore, engine: Engine) -> None:
    ids = accept(store, 3)
    store.cancel(ids[1], actor="someone", reason="x")

    def actions(**wanted: object) -> list[str]:
        return [row["action"] for row in selecting.audit_rows(engine, AuditFilter(**wanted))]  # type: ignore[arg-type]

    assert actions() == ["accept", "accept", "accept", "cancelled"]
    assert actions(job=ids[1]) == ["accept", "cancelled"]
    assert actions(actor="someone") == ["cancelled"] == actions(action="cancelled") == actions(limit=1)
    assert actions(tenant="them") == [] == actions(since=datetime.now(UTC) + timedelta(seconds=9))


def test_the_overview_counts_by_priority_and_lateness(store: JobStore, engine: Engine) -> None:
    accept(store, 2)
    # Over as it comes: a millisecond may be longer than what follows takes.
    accept(store, priority=Priority.URGENT, deadline_s=-1.0)
    accept(store, not_before_s=999)
    running = accept(store, queue="deepseek")[0]
    store.claim(running, worker="gpu0@here:1", lease_s=9)
    counts = overview.backlog(engine)
    assert counts["qwen"].waiting == {"urgent": 1, "high": 0, "normal": 2, "low": 0}
    assert (counts["qwen"].scheduled, counts["qwen"].late, counts["deepseek"].running) == (1, 1, 1)
    assert counts["qwen"].oldest_s is not None and counts["deepseek"].oldest_s is None
    assert [job.id for job in overview.running(engine)] == [running]
    store.finish(running, 1, Outcome(State.SUCCEEDED, text="a", model="m", usage={"output_tokens": 40}), worker="w")
    pulse = overview.pulse(engine)
    assert (pulse.ended, pulse.tokens) == ({"succeeded": 1}, 40)
    late = accept(store, deadline_s=-1.0)[0]
    store.claim(late, worker="w", lease_s=9)
    assert overview.missed(engine, within_s=60) == {"qwen": 1}
