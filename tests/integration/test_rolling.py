"""Workers restarted one after the other under load: nothing is lost, and nothing is counted against any job."""

from __future__ import annotations

import signal
import time

from hotset.jobs import State
from hotset.store import make_engine
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"


def test_rolling_restarts_lose_nothing_and_count_nothing(stack: Stack) -> None:
    stack.env |= {"HOTSET_LEASE_S": "4", "HOTSET_HEARTBEAT_S": "1", "HOTSET_STOP_GRACE_S": "0.3"}
    stack.fleet(gpus=2)
    client = stack.client()
    # Some outlive the grace and are handed back; others end within it.
    jobs = client.submit_many(
        {
            "agent": LIGHT,
            "prompt": f"{i}",
            "options": {"hotset_run_s": 150 if i % 10 == 0 else 12},
            "metadata": {"long": str(i % 10 == 0)},
        }
        for i in range(120)
    )
    workers = {gpu: stack.worker(gpu) for gpu in ("gpu0", "gpu1")}
    for gpu in ("gpu0", "gpu1", "gpu0"):
        eventually(
            lambda gpu=gpu: (
                any(
                    (v.worker or "").startswith(gpu) and v.state is State.RUNNING and v.metadata["long"] == "True"
                    for v in client.jobs(state="running")
                )
                or not client.jobs(state="open")
            ),
            within_s=60,
            message=lambda gpu=gpu: stack.log(gpu),
        )
        began = time.monotonic()
        stack.kill(workers[gpu], signal.SIGTERM)
        assert time.monotonic() - began < 30
        workers[gpu] = stack.worker(gpu)
    for job in jobs:
        job.result(timeout=90)
    engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test")
    with engine.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT count(*) AS jobs, sum(failures) AS failures, sum(crashes) AS crashes,"
            " count(*) FILTER (WHERE suspect) AS suspects, (SELECT count(*) FROM results) AS results,"
            " (SELECT count(*) FROM audit WHERE action = 'release') AS released"
            " FROM jobs WHERE state = 'succeeded'"
        ).one()
    engine.dispose()
    assert (row.jobs, row.failures, row.crashes, row.suspects, row.results) == (120, 0, 0, 0, 120)
    assert row.released > 0, "some were handed back"
