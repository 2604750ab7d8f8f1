"""Jobs that kill their worker, among many that do not: quarantined after exactly their own crashes, none with them."""

from __future__ import annotations

import json
import threading
from uuid import UUID

import pytest

from auditor import conserved
from hotset.jobs import State
from hotset.store import make_engine
from lengths import FULL
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
JOBS, POISON = (1000, 10) if FULL else (60, 2)
CRASHES = 3
#: Wall seconds per model second. At full length a job runs for a second, and the start of a worker costs as much as a
#: few jobs; in the quick form it costs as much as all of them.
SCALE = "0.2" if FULL else "0.01"
#: A crash costs the lease, and the start of a worker: what others may wait longer for it, over all of them together.
GENEROUS = 50.0


def run(stack: Stack, *, jobs: int, poison: set[int], tenant: str) -> dict[str, object]:
    """Submit so many, of which those in `poison` kill the process group that runs them. Figures."""
    client = stack.client(tenant=tenant)
    submitted = client.submit_many(
        {"agent": LIGHT, "prompt": f"{i}", "options": {"hotset_run_s": 600 if i in poison else 5}} for i in range(jobs)
    )
    deadly = {job.id for i, job in enumerate(submitted) if i in poison}
    innocent = [job for job in submitted if job.id not in deadly]
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test-poison")
    stop = threading.Event()
    kills = 0

    def kill_whoever_runs_it() -> None:
        nonlocal kills
        worker = stack.worker()
        with engine.connect() as connection:
            query = "SELECT id FROM jobs WHERE state = 'running' AND id = ANY(%s)"
            while not stop.wait(0.05):
                running: set[UUID] = {row.id for row in connection.exec_driver_sql(query, ([*deadly],))}
                if running or worker.poll() is not None:
                    stack.kill(worker)
                    kills += 1
                    worker = stack.worker()
                    # Until its lease is over the row says that it runs; nobody runs it.
                    while running and not stop.wait(0.05):
                        now = {row.id for row in connection.exec_driver_sql(query, ([*running],))}
                        if not now:
                            break
        stack.kill(worker)

    thread = threading.Thread(target=kill_whoever_runs_it)
    thread.start()
    try:
        for job in innocent:
            job.result(timeout=600)
        for job in submitted:
            eventually(lambda job=job: job.status.terminal, within_s=120, message=stack.log)
    finally:
        stop.set()
        thread.join()
    with engine.connect() as connection:
        p99 = connection.exec_driver_sql(
            "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - arrived_at))::float8"
            " FROM jobs WHERE tenant = %s AND state = 'succeeded'",
            (tenant,),
        ).scalar_one()
        audited = connection.exec_driver_sql(
            "SELECT job_id, count(*) FILTER (WHERE action IN ('crash', 'quarantined')) AS own,"
            " count(*) FILTER (WHERE action = 'shared-crash') AS shared FROM audit WHERE tenant = %s GROUP BY job_id",
            (tenant,),
        ).all()
    engine.dispose()
    views = {job.id: job.view for job in submitted}
    return {
        "jobs": jobs,
        "poison": len(deadly),
        "kills": kills,
        "quarantined": sorted(str(i) for i, view in views.items() if view.state is State.QUARANTINED),
        "deadly": sorted(map(str, deadly)),
        "innocent_crashes": sum(view.crashes for i, view in views.items() if i not in deadly),
        "own": sorted({row.own for row in audited if str(row.job_id) in {*map(str, deadly)}}),
        "shared_most": max((row.shared for row in audited), default=0),
        "p99_wait_s": round(p99, 1),
    }


@pytest.mark.timeout(7200 if FULL else 600)
def test_poison_among_many(stack: Stack) -> None:
    stack.env |= {
        "HOTSET_LEASE_S": "1.5",
        "HOTSET_HEARTBEAT_S": "0.4",
        "HOTSET_MAX_CRASHES": str(CRASHES),
        "HOTSET_RELAY_AFTER_S": "0.5",
        "HOTSET_SCALE": SCALE,
    }
    stack.fleet()
    calm = run(stack, jobs=JOBS, poison=set(), tenant="calm")
    every = JOBS // POISON
    figures = run(stack, jobs=JOBS, poison={i * every + every // 2 for i in range(POISON)}, tenant="struck")
    ratio = float(str(figures["p99_wait_s"])) / float(str(calm["p99_wait_s"]))
    shown = {k: v for k, v in figures.items() if k not in ("deadly", "quarantined")}
    print(json.dumps({**shown, "p99_without_poison_s": calm["p99_wait_s"], "p99_ratio": round(ratio, 2)}))
    assert figures["quarantined"] == figures["deadly"], "each poisoned job, and no other"
    assert figures["own"] == [CRASHES] and figures["innocent_crashes"] == 0
    assert ratio <= GENEROUS
    balance = conserved(stack.env["HOTSET_DATABASE_URL"])
    print(json.dumps(balance))
    assert balance["quarantined"] == POISON and balance["succeeded"] == 2 * JOBS - POISON
