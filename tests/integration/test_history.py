"""History from real tables: every attempt's time, the moment a job could first run, and who is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from hotset.jobs import Priority
from hotset.store import make_engine
from hotset.store.history import PastJob, read_history

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.servers


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def keep(database: str, state: str, audit: list[tuple[float, str, int, str]], **more: Any) -> UUID:
    """A job that arrived at noon, and its audit: (seconds after noon, action, attempt, actor)."""
    job_id = uuid4()
    attempts = max((attempt for _, _, attempt, _ in audit), default=0)
    row = {"tenant": "acme", "priority": 2, "failures": 0, "crashes": 0, "not_before": None, **more}
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO jobs (id, tenant, agent, queue, priority, state, prompt, body_hash, arrived_at, deadline_at,"
            " finished_at, attempt, failures, crashes, not_before, lease_until)"
            " VALUES (%s, %s, 'a', 'qwen', %s, %s, 'words', '', %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                job_id, row["tenant"], row["priority"], state, at(0), at(120),
                None if state in ("queued", "running") else at(1000), attempts, row["failures"], row["crashes"],
                row["not_before"], at(2000) if state == "running" else None,
            ],
        )  # fmt: skip
        for seconds, action, attempt, actor in audit:
            connection.execute(
                "INSERT INTO audit (at, tenant, actor, action, job_id, attempt) VALUES (%s, %s, %s, %s, %s, %s)",
                [at(seconds), row["tenant"], actor, action, job_id, attempt],
            )
    return job_id


def read(database: str, **more: Any) -> list[PastJob]:
    engine = make_engine(database, application="test")
    try:
        return list(read_history(engine, more.pop("since", at(-10)), more.pop("until", at(10)), **more))
    finally:
        engine.dispose()


def test_all_attempts_count(database: str) -> None:
    job_id = keep(
        database,
        "succeeded",
        [(0, "accept", 0, "client"), (5, "claim", 1, "gpu0@h:1"), (8, "retry", 1, "gpu0@h:1"),
         (20, "claim", 2, "gpu1@h:2"),         (21, "note", 2, "somebody"), (30, "succeeded", 2, "gpu1@h:2")],
        failures=1,
        not_before=at(15),
    )  # fmt: skip
    (job,) = read(database, scale=0.5)
    assert job == PastJob(
        job_id, "qwen", "a", "acme", Priority.HIGH, at(0), 240.0, 10.0, (("gpu0@h:1", 6.0), ("gpu1@h:2", 20.0))
    )


def test_a_job_comes_when_it_may_run(database: str) -> None:
    ran = [(50, "claim", 1, "gpu0@h:1"), (60, "succeeded", 1, "gpu0@h:1")]
    keep(database, "succeeded", [(0, "accept", 0, "c"), (40, "unblocked", 0, "hotset"), *ran])
    keep(database, "succeeded", [(0, "accept", 0, "c"), *ran], not_before=at(45))
    assert [(j.came_at, j.waited_s, j.deadline_s) for j in read(database)] == [
        (at(40), 10.0, 80.0),
        (at(45), 5.0, 75.0),
    ]


def test_who_never_ran_or_has_not_ended_is_left_out(database: str) -> None:
    ran = [(5, "claim", 1, "gpu0@h:1"), (9, "failed", 1, "gpu0@h:1")]
    keep(database, "cancelled", [(0, "accept", 0, "c"), (4, "cancelled", 0, "c")])
    keep(database, "queued", [(0, "accept", 0, "c")])
    keep(database, "running", ran[:1])
    failed = keep(database, "failed", ran, failures=1)
    assert [job.id for job in read(database)] == [failed]
    assert read(database, tenant="other") == []
    assert read(database, since=at(1)) == []
    assert read(database, until=at(0)) == []
