"""Retention on a real Postgres: what goes, what stays, what says so."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError
from uuid_utils.compat import uuid7

from hotset.errors import StoreUnavailable
from hotset.jobs import NewJob, Outcome, State
from hotset.store import JobStore, retention, upkeep
from hotset.store.retention import Removed


def new_job(**changes: Any) -> NewJob:
    return NewJob(**{"id": uuid7(), "agent": "qa-team-lead", "queue": "qwen", "prompt": "x", **changes})


def finished(store: JobStore, days_ago: float, count: int = 1, **changes: Any) -> list[UUID]:
    """Jobs that succeeded so many days ago."""
    jobs = [new_job(**changes) for _ in range(count)]
    store.accept(jobs, actor="test")
    for job in jobs:
        attempt = store.claim(job.id, worker="w", lease_s=30)
        assert attempt is not None
        done = Outcome(State.SUCCEEDED, text="an answer", model="m", simulated=True)
        assert store.finish(job.id, attempt.number, done, worker="w")
    ids = [job.id for job in jobs]
    run(store.engine, "UPDATE jobs SET finished_at = now() - make_interval(secs => %s) WHERE id = ANY(%s)",
        days_ago * 86400, ids)  # fmt: skip
    return ids


def run(engine: Engine, statement: str, *values: object) -> list[Any]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(statement, values)
        return list(found.all()) if found.returns_rows else []


def put_in_flow(store: JobStore, ids: list[UUID], days_ago: float) -> UUID:
    flow = uuid7()
    run(store.engine, "INSERT INTO flows (id, tenant, shape, body_hash, created_at)"
        " VALUES (%s, 'default', '0', '', now() - make_interval(secs => %s))", flow, days_ago * 86400)  # fmt: skip
    for step, job in enumerate(ids):
        run(store.engine, "UPDATE jobs SET flow = %s, step = %s WHERE id = %s", flow, step, job)
        if step:
            run(store.engine, "INSERT INTO dependencies VALUES (%s, %s, 0)", job, ids[step - 1])
    return flow


def retain(engine: Engine, *, days: int = 30, months: int = 0) -> Removed:
    """What is promised is what is done."""
    promised = retention.preview(engine, keep_days=days, keep_months=months)
    removed = retention.retain(engine, actor="test", keep_days=days, keep_months=months)
    assert promised == removed
    assert retention.retain(engine, actor="test", keep_days=days, keep_months=months) == Removed()
    return removed


def test_what_finished_long_ago_goes_with_its_result_and_the_rest_stays(engine: Engine, store: JobStore) -> None:
    old = finished(store, 31, 3)
    other = finished(store, 31, 2, tenant="acme")
    young = finished(store, 29)
    waiting = [new_job(), new_job()]
    store.accept(waiting, actor="test")
    store.claim(waiting[1].id, worker="w", lease_s=30)
    run(engine, "UPDATE jobs SET arrived_at = now() - interval '1 year' WHERE id = ANY(%s)", [j.id for j in waiting])
    assert retain(engine) == Removed(jobs=5, results=5)
    assert set(store.get([*old, *other, *young, *(j.id for j in waiting)])) == {*young, *(j.id for j in waiting)}
    said = run(engine, "SELECT tenant, actor, detail FROM audit WHERE action = 'retention' ORDER BY tenant")
    assert [(r.tenant, r.actor, r.detail["jobs"], r.detail["results"]) for r in said] == [
        ("acme", "test", 2, 2),
        ("default", "test", 3, 3),
    ]
    # What happened to them is still told: the audit has its own limit.
    assert [row["action"] for row in store.audit(old[0])] == ["accept", "claim", "succeeded"]


def test_0_keeps_for_ever(engine: Engine, store: JobStore) -> None:
    old = finished(store, 10_000)
    assert retain(engine, days=0, months=0) == Removed()
    assert set(store.get(old)) == set(old)


def test_an_idempotency_key_is_free_again(engine: Engine, store: JobStore) -> None:
    finished(store, 31, idempotency_key="k")
    retain(engine)
    again = new_job(idempotency_key="k", prompt="something else")
    assert store.accept([again], actor="test")[0].id == again.id


def test_what_a_kept_job_was_replayed_from_stays_as_long_as_it(engine: Engine, store: JobStore) -> None:
    first = finished(store, 90)
    second = finished(store, 60, replay_of=first[0])
    third = finished(store, 1, replay_of=second[0])
    assert retain(engine) == Removed()
    assert set(store.get(first + second + third)) == {*first, *second, *third}
    run(engine, "UPDATE jobs SET finished_at = now() - interval '40 days' WHERE id = %s", third[0])
    assert retain(engine) == Removed(jobs=3, results=3)


def test_a_flow_goes_as_a_whole_when_its_last_job_is_old(engine: Engine, store: JobStore) -> None:
    done = finished(store, 45, 3)
    put_in_flow(store, done, 50)
    going_on = finished(store, 45, 2)
    last = new_job()
    store.accept([last], actor="test")
    put_in_flow(store, [*going_on, last.id], 50)
    fresh = finished(store, 45, 2) + finished(store, 2)
    put_in_flow(store, fresh, 50)
    replayed = finished(store, 45, 2)
    put_in_flow(store, replayed, 50)
    replay = finished(store, 1, replay_of=replayed[1])
    assert retain(engine) == Removed(jobs=3, results=3, flows=1)
    kept = {*going_on, last.id, *fresh, *replayed, *replay}
    assert set(store.get([*done, *kept])) == kept
    assert run(engine, "SELECT count(*) AS n FROM flows")[0].n == 3
    assert run(engine, "SELECT count(*) AS n FROM dependencies WHERE job = ANY(%s)", done)[0].n == 0
    said = run(engine, "SELECT detail FROM audit WHERE action = 'retention'")
    assert [(r.detail["flows"], r.detail["jobs"]) for r in said] == [(1, 3)]


def test_several_workers_at_once_delete_each_job_once(engine: Engine, store: JobStore) -> None:
    ids = [new_job() for _ in range(1800)]
    store.accept(ids, actor="test")
    run(engine, "UPDATE jobs SET state = 'cancelled', finished_at = now() - interval '40 days'")
    counts: list[int] = []

    def work() -> None:
        while gone := retention.remove_batch(engine, actor="test", keep_days=30).jobs:
            counts.append(gone)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A worker whose rows were all locked by others stops early; what is left goes at the next call.
    work()
    assert sum(counts) == 1800 and max(counts) <= 500
    said = run(engine, "SELECT sum((detail ->> 'jobs')::int) AS n FROM audit WHERE action = 'retention'")
    assert said[0].n == 1800


def make_month(engine: Engine, months_ago: int, entries: int) -> str:
    day = run(engine, "SELECT (date_trunc('month', now()) - make_interval(months => %s))::date AS d", months_ago)[0].d
    run(engine, "SELECT audit_make_partition(%s)", day)
    for _ in range(entries):
        run(engine, "INSERT INTO audit (at, tenant, actor, action) VALUES (%s, 'default', 'me', 'x')", day)
    return f"audit_{day:%Y_%m}"


def test_months_of_the_audit_go_and_say_so(engine: Engine) -> None:
    gone = [make_month(engine, 15, 3), make_month(engine, 14, 2)]
    kept = make_month(engine, 13, 4)
    assert retain(engine, months=13) == Removed(months=((gone[0], 3), (gone[1], 2)))
    assert run(engine, "SELECT count(*) AS n FROM audit WHERE action = 'x'")[0].n == 4
    assert run(engine, f"SELECT count(*) AS n FROM {kept}")[0].n == 4
    said = run(engine, "SELECT detail FROM audit WHERE action = 'audit-dropped' ORDER BY id")
    assert [(r.detail["partition"], r.detail["entries"]) for r in said] == [(gone[0], 3), (gone[1], 2)]
    # What remains is as append-only as before.
    with pytest.raises(DatabaseError, match="append-only"):
        run(engine, "DELETE FROM audit")


def test_entries_without_a_month_get_one_or_go(engine: Engine, store: JobStore) -> None:
    """As after half a year without a worker: rows lie in the default partition, where no month can be made any more."""
    store.accept([new_job()], actor="test")
    for months_ago in (0, 2, 20):
        run(engine, "INSERT INTO audit (at, tenant, actor, action) VALUES"
            " (now() - make_interval(months => %s), 'default', 'me', 'late')", months_ago)  # fmt: skip
    this_month = run(engine, "SELECT 'audit_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AS name")[0].name
    run(engine, f"ALTER TABLE audit DETACH PARTITION {this_month}")
    run(engine, f"INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM {this_month}")
    run(engine, f"DROP TABLE {this_month}")
    before = run(engine, "SELECT id, at, action FROM audit ORDER BY id")
    assert upkeep.make_partitions(engine) == 0  # sorting made them
    assert run(engine, "SELECT id, at, action FROM audit ORDER BY id") == before
    assert run(engine, "SELECT count(*) AS n FROM audit_default")[0].n == 0
    dropped = retention.drop_months(engine, actor="test", keep_months=13)
    assert [entries for _, entries in dropped.months] == [1]
    store.accept([new_job()], actor="test")
    assert run(engine, "SELECT count(*) AS n FROM audit WHERE action = 'late'")[0].n == 2


def test_dropping_waits_for_a_reader_and_not_for_ever(engine: Engine) -> None:
    make_month(engine, 20, 1)
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as reader, reader.begin():
        reader.exec_driver_sql("SELECT count(*) FROM audit")
        with pytest.raises(StoreUnavailable, match="read for more than 2 s"):
            retention.drop_months(engine, actor="test", keep_months=13)
    assert retention.drop_months(engine, actor="test", keep_months=13).months
