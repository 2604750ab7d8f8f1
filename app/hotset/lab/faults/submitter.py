"""Submits jobs, or publishes them as the relay does, and stops at the one moment at which it is to be killed.

    python -m hotset.lab.faults.submitter rolled-back | commit | relay-before | relay-after  JOBS

rolled-back: the rows are written, the commit does not come. commit: they are committed, and the broker (an address that
never answers) has not taken them. relay-before, relay-after: the rows are locked by a relay that has not published
them, or has and cannot say so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from uuid_utils.compat import uuid7

from hotset.broker import Lanes
from hotset.client import Client
from hotset.jobs import NewJob, Routing
from hotset.settings import load_settings
from hotset.store import Cipher, JobStore, make_engine, upkeep
from hotset.store.engine import connected

_AGENT, _QUEUE = "log-aggregator-loki", "tinyllama"
_FOREVER_S = 3600.0


def main(how: str, jobs: int) -> None:
    settings = load_settings()
    if how == "commit":
        with Client(settings=settings) as client:
            client.submit_many({"agent": _AGENT, "prompt": "x", "options": {"hotset_run_s": 0.01}} for _ in range(jobs))
        return
    engine = make_engine(settings.database_url.get_secret_value(), application="hotset-submitter", pool_size=1)
    if how == "rolled-back":
        rows = [NewJob(id=uuid7(), agent=_AGENT, queue=_QUEUE, prompt="never") for _ in range(jobs)]
        store = JobStore(engine, cipher=Cipher.of(settings.encryption_keys))
        with connected(engine) as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                store.accept_within(connection, rows, actor="submitter")
                time.sleep(_FOREVER_S)
    lanes = Lanes(settings.broker_url.get_secret_value())

    def publish(found: Sequence[Routing]) -> None:
        if how == "relay-after":
            lanes.publish(found)
        time.sleep(_FOREVER_S)

    upkeep.relay(engine, publish, after_s=-1.0, limit=jobs)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
