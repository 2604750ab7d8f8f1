"""The auditor of conservation: whole after whatever may happen to jobs; each violation, made by force, is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine
from uuid_utils.compat import uuid7

from hotset.jobs import NewJob, Outcome, State
from hotset.store import JobStore, make_engine, retention, seals, upkeep
from hotset.store.conservation import CHAIN, Conservation, audit_conservation, conservation_within
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
ADD = (
    "INSERT INTO audit (tenant, actor, action, job_id, attempt) SELECT tenant, 'x', '{}', id, {} FROM jobs"
    " WHERE id = %(job)s"
)


def run(engine: Engine, statement: str, *values: object) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(statement, values)


def accept(store: JobStore, **changes: Any) -> UUID:
    job = NewJob(**{"id": uuid7(), "agent": "qa-team-lead", "queue": "qwen", "prompt": "x", **changes})
    store.accept([job], actor="test")
    return job.id


def claim(store: JobStore, job: UUID) -> int:
    attempt = store.claim(job, worker="w", lease_s=30)
    assert attempt is not None
    return attempt.number


def end(store: JobStore, job: UUID, state: State = State.SUCCEEDED, **changes: Any) -> None:
    outcome = Outcome(state, text="an answer", model="m", simulated=True, **changes)
    assert store.finish(job, claim(store, job), outcome, worker="w")


def every_way(store: JobStore) -> dict[str, UUID]:
    """Jobs that ended in every way, or are open in every way, with attempts of all kinds before."""
    engine = store.engine
    jobs = {}
    jobs["plain"] = accept(store)
    end(store, jobs["plain"])
    jobs["retried"] = accept(store)
    end(store, jobs["retried"], State.SCHEDULED, retry_in_s=0.0, error_kind="GenerationFailed", error="no")
    upkeep.queue_due(engine)
    end(store, jobs["retried"], State.FAILED, error_kind="GenerationFailed", error="no")
    jobs["handed back"] = accept(store)
    assert store.release(jobs["handed back"], claim(store, jobs["handed back"]), worker="w", reason="test")
    end(store, jobs["handed back"])
    jobs["crashed"] = accept(store)
    claim(store, jobs["crashed"])
    lose_lease(engine, jobs["crashed"])
    upkeep.reap(engine, actor="test", max_crashes=3)
    end(store, jobs["crashed"])
    jobs["quarantined"] = accept(store)
    claim(store, jobs["quarantined"])
    lose_lease(engine, jobs["quarantined"])
    upkeep.reap(engine, actor="test", max_crashes=1)
    jobs["cancelled waiting"] = accept(store)
    claimed = claim(store, jobs["cancelled waiting"])
    store.release(jobs["cancelled waiting"], claimed, worker="w", reason="test")
    assert store.cancel(jobs["cancelled waiting"], actor="test", reason="test")
    jobs["cancelled running"] = accept(store)
    attempt = claim(store, jobs["cancelled running"])
    store.cancel(jobs["cancelled running"], actor="test", reason="test")
    cancelled = Outcome(State.CANCELLED, error_kind="JobCancelled", error="test")
    assert store.finish(jobs["cancelled running"], attempt, cancelled, worker="w")
    jobs["expired"] = accept(store, queue_timeout_s=0.0)
    assert len(upkeep.expire(engine, actor="test")) == 1
    jobs["refused"] = accept(store)
    assert store.refuse(jobs["refused"], worker="w", error_kind="UnknownAgent", error="no")
    jobs["queued"] = accept(store)
    jobs["running"] = accept(store)
    claim(store, jobs["running"])
    jobs["acme"] = accept(store, tenant="acme")
    end(store, jobs["acme"])
    return jobs


def lose_lease(engine: Engine, job: UUID) -> None:
    run(engine, "UPDATE jobs SET lease_until = now() - interval '1 second' WHERE id = %s", job)


@pytest.fixture(scope="module")
def engine(module_database: str) -> Iterator[Engine]:
    engine = make_engine(module_database, application="test")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def jobs(engine: Engine) -> dict[str, UUID]:
    """Ended and open in every way, some removed by retention, all sealed. What a test changes it must take back."""
    store = JobStore(engine)
    for tenant in ("default", "acme"):
        old = accept(store, tenant=tenant)
        end(store, old)
        run(engine, "UPDATE jobs SET finished_at = now() - interval '40 days' WHERE id = %s", old)
    assert retention.retain(engine, actor="test", keep_days=30, keep_months=0).jobs == 2
    jobs = every_way(store)
    seals.seal(engine, by="test")
    return jobs


def broken(found: Conservation) -> dict[str, tuple[str, ...]]:
    return {b.fault: b.ids for i in found.invariants for b in i.broken}


def test_whatever_ends_as_it_should_is_whole(engine: Engine, jobs: dict[str, UUID]) -> None:
    found = audit_conservation(engine)
    assert found.whole and broken(found) == {}
    balance = found.balance
    assert balance.accepted == (12, 2, 14)
    assert balance.rows == {
        "succeeded": 4, "failed": 2, "cancelled": 2, "expired": 1, "quarantined": 1, "open": 2
    }  # fmt: skip
    assert balance.removed["succeeded"] == balance.removed_said == 2
    assert balance.audit["succeeded"] == 6
    assert all(i.checked > 0 for i in found.invariants)


def test_one_tenant_is_counted_alone(engine: Engine, jobs: dict[str, UUID]) -> None:
    found = audit_conservation(engine, tenant="acme")
    assert found.whole and found.balance.accepted == (1, 1, 2)


@pytest.mark.parametrize(
    ("of", "statement", "faults"),
    [
        ("plain", "DELETE FROM audit WHERE action = 'accept' AND job_id = %(job)s", {"not-accepted"}),
        ("plain", "INSERT INTO audit (tenant, actor, action, job_id) VALUES ('default', 'x', 'accept', %(job)s)",
         {"accepted-twice", "before-acceptance"}),
        ("queued", "DELETE FROM jobs WHERE id = %(job)s", {"lost"}),
        ("running", "DELETE FROM jobs WHERE id = %(job)s", {"lost", "claim-without-end"}),
        ("plain", "DELETE FROM results WHERE job_id = %(job)s", {"no-result"}),
        ("retried", "INSERT INTO results (job_id, attempt, text, model, simulated) VALUES (%(job)s, 2, '', 'm', true)",
         {"result-of-no-success"}),
        ("handed back", "UPDATE results SET attempt = 1 WHERE job_id = %(job)s", {"result-of-another-attempt"}),
        ("plain", "UPDATE results SET job_id = '00000000-0000-7000-8000-000000000000' WHERE job_id = %(job)s",
         {"no-result", "result-without-job"}),
        ("plain", "UPDATE jobs SET state = 'failed' WHERE id = %(job)s", {"states-differ", "result-of-no-success"}),
        ("queued", "UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = %(job)s", {"states-differ"}),
        ("plain", ADD.format("succeeded", 1), {"ended-twice", "after-the-end"}),
        ("plain", ADD.format("claim", 2), {"after-the-end", "attempts-differ"}),
        ("handed back", "UPDATE audit SET attempt = 1 WHERE action = 'claim' AND attempt = 2 AND job_id = %(job)s",
         {"token-not-raised", "end-without-claim"}),
        ("handed back", "DELETE FROM audit WHERE action = 'release' AND job_id = %(job)s", {"claim-without-end"}),
        ("crashed", "DELETE FROM audit WHERE action = 'claim' AND attempt = 1 AND job_id = %(job)s",
         {"end-without-claim", "attempts-differ"}),
        ("cancelled running", "UPDATE audit SET attempt = 7 WHERE action = 'cancelled' AND job_id = %(job)s",
         {"end-of-another-attempt"}),
        ("queued", "UPDATE jobs SET attempt = 1 WHERE id = %(job)s", {"attempts-differ"}),
        ("running", "UPDATE jobs SET state = 'queued', lease_until = NULL WHERE id = %(job)s", {"claim-without-end"}),
    ],
)  # fmt: skip
def test_each_violation_is_found_and_named(
    engine: Engine, jobs: dict[str, UUID], of: str, statement: str, faults: set[str]
) -> None:
    found = with_force(engine, statement, {"job": jobs[of]})
    # Where the audit was touched, the chain says so as well.
    named = {fault: ids for fault, ids in broken(found).items() if " " not in fault}
    assert not found.whole and set(named) == faults, named
    assert any(str(jobs[of]) in ids for ids in named.values())


def test_what_was_removed_without_a_word_is_missed(engine: Engine, jobs: dict[str, UUID]) -> None:
    found = with_force(engine, "DELETE FROM audit WHERE action = 'retention' AND tenant = 'acme'", {})
    assert "removed-unsaid" in broken(found)
    gone = "DELETE FROM results WHERE job_id = %(job)s"
    found = with_force(engine, gone, {"job": jobs["plain"]}, "DELETE FROM jobs WHERE id = %(job)s")
    assert set(broken(found)) == {"removed-unsaid"}


def test_a_row_of_the_audit_that_was_changed_breaks_its_seal(engine: Engine, jobs: dict[str, UUID]) -> None:
    statement = "UPDATE audit SET actor = 'nobody' WHERE job_id = %(job)s"
    found = with_force(engine, statement, {"job": jobs["plain"]})
    assert [i.name for i in found.invariants if not i.holds] == [CHAIN]


def with_force(engine: Engine, statement: str, values: dict[str, object], *more: str) -> Conservation:
    """What the auditor says when somebody who owns the database has done that; it is undone again."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        for each in (statement, *more):
            assert connection.exec_driver_sql(each, values).rowcount > 0
        found = conservation_within(connection)
        connection.rollback()
    return found


def test_jobs_that_are_older_than_the_audit_are_no_violation(engine: Engine, jobs: dict[str, UUID]) -> None:
    """Their first months were dropped, with the word that says so."""

    def say_dropped(connection: Connection) -> Conservation:
        connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        connection.exec_driver_sql("DELETE FROM audit WHERE job_id = %s", (jobs["queued"],))
        connection.exec_driver_sql(
            "UPDATE jobs SET arrived_at = now() - interval '2 years' WHERE id = %s", (jobs["queued"],)
        )
        connection.exec_driver_sql(
            "INSERT INTO audit (tenant, actor, action, detail) VALUES ('default', 'test', 'audit-dropped',"
            """ '{"partition": "audit_2025_01", "entries": 1}')"""
        )
        return conservation_within(connection)

    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = say_dropped(connection)
        connection.rollback()
    assert found.balance.older == 1 and found.balance.accepted == (11, 2, 13)
    assert [i.name for i in found.invariants if not i.holds] == [CHAIN]


def test_a_real_worker_keeps_every_promise_and_says_which_model_it_was(stack: Stack) -> None:
    anchor = stack.folder / "anchors.jsonl"
    stack.fleet().worker(HOTSET_AUDIT_SEAL_S="0.5", HOTSET_AUDIT_ANCHOR=str(anchor))
    client = stack.client()
    done = client.submit_many((LIGHT, f"job {i}") for i in range(20))
    failed = client.submit(LIGHT, "x", max_retries=1, options={"hotset_fault": "cut", "hotset_run_s": 5})
    cancelled = client.submit(LIGHT, "later", not_before=100_000)
    cancelled.cancel("test")
    assert all(job.result(timeout=120) for job in done)
    eventually(lambda: failed.status is State.FAILED, within_s=60, message=stack.log)
    ends = [row for row in client.audit(done[0].id) if row["action"] == "succeeded"]
    assert ends[0]["detail"]["model"] == "tinyllama" and len(ends[0]["detail"]["model_digest"]) == 64
    assert ends[0]["detail"]["simulated"] is True
    retried = [row["detail"] for row in client.audit(failed.id) if row["action"] == "retry"]
    assert retried[0]["model_digest"] == ends[0]["detail"]["model_digest"]
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")
    try:
        eventually(lambda: audit_conservation(engine).chain.unsealed == 0, within_s=20, message=stack.log)
        found = audit_conservation(engine)
        assert found.whole, broken(found)
        assert found.balance.accepted == (22, 0, 22) and found.balance.audit["open"] == 0
        assert found.chain.seals == len(anchor.read_text().splitlines())
        assert f"head {found.chain.head.hash.hex()}" in stack.log()  # type: ignore[union-attr]
    finally:
        engine.dispose()
