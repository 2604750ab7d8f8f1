"""Postgres dies while jobs are claimed, run and finished, and while others submit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from hotset.errors import StoreUnavailable
from hotset.lab.faults.hotset_side import Hotset
from hotset.lab.faults.injuries import cpu_seconds
from hotset.lab.faults.side import Side

_SEED = 3
_SUBMIT_EVERY_S = 0.1


def break_database(side: Side, say: Callable[[str], None]) -> None:
    """SIGKILL for Postgres, `times` times for `every_s` wall seconds, while short and long jobs run on all slots, the
    backlog is claimed and a submitter goes on: so each outage finds claims, runs and finishes under way.

    `recover_s`: from the first answer of Postgres to the next claim. `refused`: submits that were refused in an
    outage; `refused_s_max`: the longest that took; `unclear`: those that raised anything but StoreUnavailable.
    `cpu`: cores that the worker kept busy in the outages. `unsaid`: jobs that are accepted though their submitter was
    told that Postgres is away: it died between their commit and its answer.
    """
    if not isinstance(side, Hotset) or side.servers is None:
        raise RuntimeError("this fault is hotset's, on servers of its own")
    load, rng, postgres = side.load, random.Random(_SEED), side.servers.postgres
    worker = side.worker()
    side.begin()
    side.submit([rng.uniform(*load.run_s) for _ in range(load.jobs)])
    side.until_running()
    submitter = _Submitter(side, load.run_s[0])
    busy = 0.0
    submitter.start()
    for number in range(load.times):
        time.sleep(rng.uniform(0.5, 1.0) * load.lease_s)
        postgres.kill()
        say(f"hotset: Postgres is killed, {number + 1} of {load.times}")
        began, used = time.monotonic(), cpu_seconds(worker.pid)
        time.sleep(load.every_s)
        busy += (cpu_seconds(worker.pid) - used) / (time.monotonic() - began)
        postgres.start()
        back = time.time()
        side.hits += 1
        claimed = "SELECT count(*) FROM audit WHERE action = 'claim' AND at > to_timestamp(%s)"
        if side.until(lambda: side.one(claimed, back) > 0):  # noqa: B023 - called here
            first = "SELECT (extract(epoch FROM min(at)) * 1000)::bigint FROM audit"
            side.recovered.append(
                side.one(f"{first} WHERE action = 'claim' AND at > to_timestamp(%s)", back) / 1e3 - back
            )
    submitter.stop()
    side.settle()
    side.said |= {
        "refused": submitter.refused,
        "refused_s_max": round(submitter.longest_s, 3),
        "unclear": submitter.unclear,
        "cpu": round(busy / load.times, 3),
        "unsaid": side.one("SELECT count(*) FROM jobs") - len(side.ids),
    }


class _Submitter(threading.Thread):
    """Submits one job after the other, whatever happens."""

    def __init__(self, side: Hotset, run_s: float) -> None:
        super().__init__(name="submitter", daemon=True)
        self._side, self._run_s = side, run_s
        self._stopping = threading.Event()
        self.refused = self.unclear = 0
        self.longest_s = 0.0

    def run(self) -> None:
        while not self._stopping.wait(_SUBMIT_EVERY_S):
            began = time.monotonic()
            try:
                self._side.submit([self._run_s])
            except StoreUnavailable:
                self.refused += 1
                self.longest_s = max(self.longest_s, time.monotonic() - began)
            except Exception:
                # Not what a submitter is promised: counted, and shown.
                self.unclear += 1

    def stop(self) -> None:
        self._stopping.set()
        self.join()
