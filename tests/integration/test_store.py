"""Jobs in a real Postgres: what it refuses, what commits together, what a race leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError
from uuid_utils.compat import uuid7

from hotset.errors import IdempotencyConflict, StoreUnavailable
from hotset.jobs import TERMINAL, TRANSITIONS, NewJob, Outcome, Routing, State
from hotset.store import JobStore, downgrade, let_go, make_engine, migrate, upkeep
from hotset.store.migrate import MEMORY


def new_job(**changes: object) -> NewJob:
    values = {"id": uuid7(), "agent": "qa-team-lead", "queue": "qwen", "prompt": "x", **changes}
    return NewJob(**values)  # type: ignore[arg-type]


def done(text: str = "an answer") -> Outcome:
    return Outcome(State.SUCCEEDED, text=text, model="m", simulated=True, usage={"output_tokens": 3})


@pytest.fixture(scope="module")
def module_engine(module_database: str) -> Iterator[Engine]:
    engine = make_engine(module_database, application="test")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
def test_the_database_allows_the_transitions_of_the_table_and_no_others(
    module_engine: Engine, before: State, after: State
) -> None:
    engine, store = module_engine, JobStore(module_engine)
    job = new_job()
    store.accept([job], actor="test")

    def put(state: State, *, check: bool) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET session_replication_role = {'origin' if check else 'replica'}")
            connection.exec_driver_sql(
                "UPDATE jobs SET state = %(s)s,"
                " lease_until = CASE WHEN %(s)s = 'running' THEN now() END,"
                " finished_at = CASE WHEN %(t)s THEN now() END WHERE id = %(id)s",
                {"s": str(state), "t": state in TERMINAL, "id": job.id},
            )

    put(before, check=False)
    if before == after or (before, after) in TRANSITIONS:
        put(after, check=True)
    else:
        with pytest.raises(DatabaseError, match="cannot go from"):
            put(after, check=True)


def test_accepting_writes_job_and_audit_together(store: JobStore) -> None:
    jobs = [new_job(prompt=f"p{i}") for i in range(3)]
    accepted = store.accept(jobs, actor="me")
    assert [a.id for a in accepted] == [j.id for j in jobs]
    assert all(a.routing is not None and a.routing.lane == "normal" for a in accepted)
    row = store.audit(jobs[0].id)[0]
    assert (row["action"], row["actor"], row["tenant"], row["detail"]["agent"]) == (
        "accept",
        "me",
        "default",
        "qa-team-lead",
    )


def test_the_same_key_gives_the_same_job_and_another_body_an_error(store: JobStore) -> None:
    first, again = new_job(idempotency_key="k"), new_job(idempotency_key="k")
    store.accept([first], actor="t")
    assert store.accept([again], actor="t")[0].id == first.id
    # The whole transaction is undone: the fresh job beside it is not accepted either.
    fresh = new_job()
    with pytest.raises(IdempotencyConflict, match="'k'"):
        store.accept([fresh, new_job(idempotency_key="k", prompt="other")], actor="t")
    assert store.get([fresh.id]) == {}
    # A key belongs to its tenant.
    other = new_job(idempotency_key="k", prompt="other", tenant="acme")
    assert store.accept([other], actor="t")[0].id == other.id


def test_one_claim_wins_and_the_loser_commits_nothing(store: JobStore) -> None:
    job = new_job()
    store.accept([job], actor="t")
    won: list[int] = []

    def claim(worker: str) -> None:
        if attempt := store.claim(job.id, worker=worker, lease_s=30):
            won.append(attempt.number)

    threads = [threading.Thread(target=claim, args=(f"w{i}",)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert won == [1]
    assert not store.finish(job.id, 2, done(), worker="another")
    assert store.finish(job.id, 1, done(), worker="w")
    assert not store.finish(job.id, 1, done("twice"), worker="w")
    view = store.get([job.id])[job.id]
    assert view.state is State.SUCCEEDED and view.result is not None and view.result.text == "an answer"
    assert [r["action"] for r in store.audit(job.id)] == ["accept", "claim", "succeeded"]


def test_a_lost_lease_is_a_crash_and_the_old_attempt_is_fenced_off(engine: Engine, store: JobStore) -> None:
    job = new_job()
    store.accept([job], actor="t")
    for crash in (1, 2):
        assert store.claim(job.id, worker="w", lease_s=-1) is not None
        assert upkeep.reap(engine, actor="u", max_crashes=3) == []
        view = store.get([job.id])[job.id]
        assert (view.state, view.crashes, view.failures) == (State.QUEUED, crash, 0)
        assert not store.finish(job.id, crash, done(), worker="w")
    published: list[Routing] = []
    assert upkeep.relay(engine, published.extend, after_s=1000) == 1
    assert published[0].lane == "suspect"
    assert store.claim(job.id, worker="w", lease_s=-1) is not None
    ended = upkeep.reap(engine, actor="u", max_crashes=3)
    assert [(e.id, e.state) for e in ended] == [(job.id, State.QUARANTINED)]


def test_renewing_names_what_is_still_ours_and_what_was_cancelled(store: JobStore) -> None:
    jobs = [new_job() for _ in range(3)]
    store.accept(jobs, actor="t")
    for job in jobs:
        store.claim(job.id, worker="w", lease_s=30)
    store.finish(jobs[0].id, 1, done(), worker="w")
    ended = store.cancel(jobs[1].id, actor="t", reason="why not")
    assert ended is not None and ended.state is State.RUNNING
    assert store.renew({j.id: 1 for j in jobs}, lease_s=30) == {jobs[1].id: "why not", jobs[2].id: None}


def test_the_relay_publishes_what_nobody_did_and_survives_a_failing_broker(engine: Engine, store: JobStore) -> None:
    jobs = [new_job() for _ in range(5)]
    store.accept(jobs, actor="t")

    def broken(_: object) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        upkeep.relay(engine, broken, after_s=0)
    published: list[Routing] = []
    assert upkeep.relay(engine, published.extend, after_s=0) == 5
    assert {r.id for r in published} == {j.id for j in jobs}
    assert upkeep.relay(engine, published.extend, after_s=0) == 0


def test_the_audit_refuses_change(engine: Engine, store: JobStore) -> None:
    store.accept([new_job()], actor="t")
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with engine.connect() as connection, pytest.raises(DatabaseError, match="append-only"):
            connection.exec_driver_sql(statement)


def test_partitions_are_made_ahead_and_used(engine: Engine, store: JobStore) -> None:
    assert upkeep.make_partitions(engine, months_ahead=5) == 2  # three were made by the migration
    assert upkeep.make_partitions(engine, months_ahead=5) == 0
    store.accept([new_job()], actor="t")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit_default").scalar_one() == 0


def test_migrations_go_up_and_down(servers: object, database: str) -> None:
    engine = make_engine(database, application="test")
    downgrade(database, tables=MEMORY)
    downgrade(database)
    with engine.connect() as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert set(connection.exec_driver_sql(query).scalars()) <= {"alembic_version", "memory_version"}
    migrate(database)
    JobStore(engine).accept([new_job()], actor="t")
    engine.dispose()


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    engine = make_engine("postgresql://me:secret@127.0.0.1:1/none", application="test")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
        JobStore(engine).get([UUID(int=1)])
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_a_connection_in_use_when_its_engine_is_let_go_is_closed_when_it_is_given_back(database: str) -> None:
    engine = make_engine(database, application="test", answer_s=30.0)
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        let_go(engine)
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    assert raw is not None and raw.closed  # type: ignore[attr-defined]
