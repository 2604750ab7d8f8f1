"""A worker that freezes for longer than its leases and wakes up when others have done its work."""

from __future__ import annotations

import json
import os
import signal

import pytest

from auditor import conserved
from hotset.store import make_engine
from lengths import FULL, always, by_length
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
JOBS = by_length(4, 12, 120)  # half of them are frozen in a run


@always
@pytest.mark.timeout(1800 if FULL else 300)
def test_what_wakes_up_too_late_commits_nothing_and_that_is_audited(stack: Stack) -> None:
    stack.env |= {"HOTSET_LEASE_S": "2", "HOTSET_HEARTBEAT_S": "0.5", "HOTSET_RELAY_AFTER_S": "0.5"}
    stack.fleet(gpus=2)
    client = stack.client()
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test-frozen")

    def count(what: str, *values: object) -> int:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {what}", values).scalar_one())

    def busy() -> str | None:
        """The GPU that runs the most."""
        running = {gpu: count("jobs WHERE state = 'running' AND worker LIKE %s", f"{gpu}@%") for gpu in workers}
        most = max(running, key=lambda gpu: running[gpu])
        return most if running[most] else None

    workers = {gpu: stack.worker(gpu) for gpu in ("gpu0", "gpu1")}
    frozen = 0
    for _ in range(JOBS // 4):
        asked = {"agent": LIGHT, "prompt": "x", "options": {"hotset_run_s": 60}}
        jobs = client.submit_many(asked for _ in range(4))
        eventually(lambda: busy() is not None, within_s=60, message=lambda: stack.log("gpu0") + stack.log("gpu1"))
        one = busy()
        if one is None:
            continue
        os.killpg(workers[one].pid, signal.SIGSTOP)
        with engine.connect() as connection:
            query = "SELECT id FROM jobs WHERE state = 'running' AND worker LIKE %s"
            held = [row.id for row in connection.exec_driver_sql(query, (f"{one}@%",))]
        # It wakes up only when the other one has finished what it held.
        for job in jobs:
            job.result(timeout=120)
        frozen += len(held)
        dropped = count("audit WHERE action = 'dropped'") + len(held)
        os.killpg(workers[one].pid, signal.SIGCONT)
        eventually(
            lambda dropped=dropped: count("audit WHERE action = 'dropped'") >= dropped,
            within_s=20,
            message=lambda one=one: stack.log(one),
        )
    with engine.connect() as connection:
        stale = connection.exec_driver_sql(
            "SELECT count(*) FROM audit AS late JOIN results ON results.job_id = late.job_id"
            " WHERE late.action = 'dropped' AND (late.detail ->> 'attempt')::int >= results.attempt"
        ).scalar_one()
    figures = {
        "jobs": JOBS,
        "frozen_in_a_run": frozen,
        "dropped": count("audit WHERE action = 'dropped'"),
    }
    engine.dispose()
    print(json.dumps(figures))
    assert frozen > 0 and stale == 0, "the result that counts is never that of an attempt that was dropped"
    assert all(worker.poll() is None for worker in workers.values())
    print(json.dumps(conserved(stack.env["HOTSET_DATABASE_URL"])))
