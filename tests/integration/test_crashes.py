"""Whom a crash is counted against: a job that ran alone; and what that does to poison and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset.broker import Lanes
from hotset.jobs import NewJob, Outcome, State
from hotset.store import JobStore, make_engine, upkeep
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database, application="test")
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> JobStore:
    return JobStore(engine)


def accepted(store: JobStore, count: int) -> list[UUID]:
    jobs = [NewJob(id=uuid7(), agent=LIGHT, queue="tinyllama", prompt="x") for _ in range(count)]
    store.accept(jobs, actor="t")
    return [job.id for job in jobs]


def counts(store: JobStore, *ids: UUID) -> list[tuple[str, int, bool]]:
    views = store.get(ids)
    return [(str(views[i].state), views[i].crashes, views[i].suspect) for i in ids]


def reap(engine: Engine, most: int = 2) -> list[State]:
    return [ended.state for ended in upkeep.reap(engine, actor="u", max_crashes=most)]


def test_those_that_die_together_are_suspects_and_none_is_blamed(engine: Engine, store: JobStore) -> None:
    first, second, elsewhere = accepted(store, 3)
    store.claim(first, worker="dead", lease_s=-1)
    store.claim(second, worker="dead", lease_s=0.3)
    store.claim(elsewhere, worker="alive", lease_s=60)
    assert reap(engine) == []
    assert counts(store, first, second) == [("queued", 0, True), ("running", 0, False)]
    # Its turn comes later, when the other is no longer there to be seen.
    eventually(lambda: reap(engine) == [] and counts(store, second)[0][0] == "queued", within_s=10)
    assert counts(store, first, second, elsewhere) == [("queued", 0, True), ("queued", 0, True), ("running", 0, False)]
    assert [row["action"] for row in store.audit(second)] == ["accept", "claim", "shared-crash"]


def test_a_lone_death_is_its_own_and_the_last_of_them_ends_it(engine: Engine, store: JobStore) -> None:
    (job,) = accepted(store, 1)
    store.claim(job, worker="a", lease_s=-1)
    assert reap(engine, most=3) == [] and counts(store, job) == [("queued", 1, True)]
    store.claim(job, worker="b", lease_s=30)
    store.release(job, 2, worker="b", reason="the worker stops")
    assert counts(store, job) == [("queued", 1, True)], "handed back: it counts nothing"
    store.claim(job, worker="b", lease_s=-1)
    assert reap(engine, most=3) == []
    store.claim(job, worker="c", lease_s=-1)
    assert reap(engine, most=3) == [State.QUARANTINED]
    view = store.get([job])[job]
    assert (view.crashes, view.failures, view.error_kind) == (3, 0, "Crashed") and "3 times" in (view.error or "")


def die_alone(engine: Engine, store: JobStore, job: UUID, times: int = 1) -> list[State]:
    """What came of it the last time."""
    ended: list[State] = []
    for _ in range(times):
        assert not ended and store.claim(job, worker="w", lease_s=-1, alone=True) is not None
        ended = reap(engine, most=3)
    return ended


def test_where_workers_die_under_innocents_as_well_it_takes_more_deaths_to_tell(
    engine: Engine, store: JobStore
) -> None:
    """Two of ten lone runs of jobs that did end well ended in a death: three in a row may well be chance. One may be
    anything: an operator's hand."""
    innocent = accepted(store, 8)
    for number, job in enumerate(innocent):
        die_alone(engine, store, job, 1 if number < 2 else 0)
        if number >= 2:  # these died with others
            with engine.connect() as connection:
                connection.exec_driver_sql("UPDATE jobs SET suspect = true WHERE id = %s", (job,))
        attempt = store.claim(job, worker="w", lease_s=60, alone=True)
        assert attempt is not None and store.finish(job, attempt.number, Outcome(State.SUCCEEDED), worker="w")
        if number == 0:
            (at_once,) = accepted(store, 1)
            assert die_alone(engine, store, at_once, 3) == [State.QUARANTINED]
    poison, later = accepted(store, 2)
    assert die_alone(engine, store, poison, 4) == [] and counts(store, poison) == [("queued", 4, True)]
    assert die_alone(engine, store, poison) == [State.QUARANTINED]
    assert "5 times" in (store.get([poison])[poison].error or "")
    # What was an hour ago tells nothing of now.
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE jobs SET finished_at = now() - interval '61 minutes' WHERE state = 'succeeded'"
        )
    assert die_alone(engine, store, later, 3) == [State.QUARANTINED]


def test_however_many_die_it_ends(engine: Engine, store: JobStore) -> None:
    innocent, poison = accepted(store, 2)
    attempt = store.claim(innocent, worker="w", lease_s=60, alone=True)
    assert attempt is not None and store.finish(innocent, attempt.number, Outcome(State.SUCCEEDED), worker="w")
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE jobs SET crashes = 90 WHERE id = %s", (innocent,))
    assert die_alone(engine, store, poison, 29) == []
    assert die_alone(engine, store, poison) == [State.QUARANTINED]


def test_a_suspect_is_given_to_no_one_who_does_not_run_it_alone(
    engine: Engine, store: JobStore, broker_url: str
) -> None:
    (job,) = accepted(store, 1)
    lanes = Lanes(broker_url)
    upkeep.relay(engine, lanes.publish, after_s=-1)
    assert lanes.claim("tinyllama", "normal", "oldest", "of-the-dead")
    store.claim(job, worker="dead", lease_s=-1, alone=False)
    reap(engine)
    # The broker gives the dead worker's claim back to its old lane before Postgres has published the suspect.
    assert lanes.restore_abandoned(older_s=-1) == 1
    assert lanes.claim("tinyllama", "normal", "oldest", "too-early")
    assert store.claim(job, worker="w", lease_s=30, alone=False) is None
    upkeep.relay(engine, lanes.publish, after_s=-1)
    assert {lane.name for lane in lanes.snapshot({"tinyllama": 60}).lanes} == {"suspect"}
    # After, too: it is where it belongs, once.
    assert lanes.restore_abandoned(older_s=-1) == 0
    assert lanes.claim("tinyllama", "suspect", "oldest", "right")
    assert store.claim(job, worker="w", lease_s=30, alone=True) is not None
    lanes.close()


def test_poison_is_quarantined_after_exactly_its_own_crashes_and_takes_nobody_along(stack: Stack) -> None:
    """The poison kills its worker whenever it runs: here the test does it, with the whole process group."""
    stack.env |= {
        "HOTSET_LEASE_S": "1.5",
        "HOTSET_HEARTBEAT_S": "0.4",
        "HOTSET_MAX_CRASHES": "2",
        "HOTSET_RELAY_AFTER_S": "0.5",
    }
    stack.fleet()
    client = stack.client()
    jobs = client.submit_many(
        {"agent": LIGHT, "prompt": f"job {i}", "options": {"hotset_run_s": 600 if i == 3 else 10}} for i in range(20)
    )
    poison = jobs.pop(3)
    kills = 0
    worker = stack.worker()
    while not poison.status.terminal:
        eventually(lambda: poison.status is State.RUNNING or poison.status.terminal, within_s=60, message=stack.log)
        if poison.status is State.RUNNING:
            stack.kill(worker)
            kills += 1
            worker = stack.worker()
            eventually(lambda: poison.status is not State.RUNNING, within_s=30, message=stack.log)
    for job in jobs:
        job.result(timeout=120)
    view = poison.view
    assert (view.state, view.crashes, view.failures) == (State.QUARANTINED, 2, 0)
    actions = [row["action"] for row in client.audit(poison.id)]
    assert actions.count("shared-crash") <= 1 and kills == 2 + actions.count("shared-crash")
    assert [job.view.crashes for job in jobs] == [0] * 19 and not any(job.view.failures for job in jobs)
