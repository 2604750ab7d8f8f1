"""Kill the worker's process group while it works, again and again, and count what came of the jobs."""

from __future__ import annotations

import os
import random
import time

from hotset.jobs import State
from hotset.store import make_engine
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"


def kill_under_load(stack: Stack, *, kills: int, jobs: int, seed: int = 1) -> dict[str, int]:
    """`hits`: kills that struck a running job; `lost`: jobs without exactly one terminal state and result;
    `doubled`: jobs whose result was committed more than once (by the audit)."""
    rng = random.Random(seed)
    stack.env |= {
        "HOTSET_LEASE_S": "1.5",
        "HOTSET_HEARTBEAT_S": "0.4",
        # Kills are no fault of the job here: none may be quarantined, however often it was struck.
        "HOTSET_MAX_CRASHES": "100000",
        "HOTSET_RELAY_AFTER_S": "0.5",
    }
    stack.fleet()
    client = stack.client()
    accepted = client.submit_many(
        {"agent": rng.choice([LIGHT, BALANCED]), "prompt": f"job {i}", "options": {"hotset_run_s": rng.uniform(5, 40)}}
        for i in range(jobs)
    )
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test-kills")
    hits = 0
    with engine.connect() as connection:

        def count(state: str) -> int:
            return int(connection.exec_driver_sql("SELECT count(*) FROM jobs WHERE state = %s", (state,)).scalar_one())

        for _ in range(kills):
            worker = stack.worker()
            eventually(lambda: count("running") > 0 or count("queued") == 0, within_s=60, message=stack.log)
            if count("queued") == 0:
                accepted += client.submit_many((LIGHT, f"more {i}") for i in range(10))
                eventually(lambda: count("running") > 0, within_s=60, message=stack.log)
            time.sleep(rng.uniform(0.0, 0.4))
            hits += count("running") > 0
            stack.kill(worker)
        stack.worker()
        for job in accepted:
            job.result(timeout=120)
        lost = sum(job.status is not State.SUCCEEDED for job in accepted)
        doubled = connection.exec_driver_sql(
            "SELECT count(*) FROM (SELECT job_id FROM audit WHERE action = 'succeeded'"
            " GROUP BY job_id HAVING count(*) > 1) AS twice"
        ).scalar_one()
        results = connection.exec_driver_sql("SELECT count(*) FROM results").scalar_one()
        crashes = connection.exec_driver_sql("SELECT sum(crashes) FROM jobs").scalar_one()
    engine.dispose()
    lost += len(accepted) - results
    return {"accepted": len(accepted), "hits": hits, "lost": lost, "doubled": doubled, "crashes": crashes or 0}


def kills_asked() -> int:
    return int(os.environ.get("HOTSET_TEST_KILLS", "100"))
