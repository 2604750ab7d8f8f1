"""Faults that strike workers: killed under load, killed in mid-job, jobs that outlive their lease many times."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from hotset.lab.faults.side import Side

_SEED = 1


def kill_under_load(side: Side, say: Callable[[str], None]) -> None:
    """SIGKILL for the worker's process group at a random moment, again and again; a kill that strikes no running job
    does not count. `recover_s`: from the kill to the next start of what it struck."""
    load, rng = side.load, random.Random(_SEED)
    side.begin()
    side.submit([rng.uniform(*load.run_s) for _ in range(load.jobs)])
    while side.hits < load.times:
        worker = side.worker()
        if not side.until(lambda: bool(side.journal.read().running()), within_s=load.patience_s):
            worker.kill()
            break  # nothing that could be struck is left, or it never comes back
        time.sleep(rng.uniform(0.0, load.every_s))
        side.strike(worker)
        say(f"{side.name}: {side.hits} of {load.times} kills, {side.ended()} of {load.jobs} jobs done")
    side.worker()
    side.settle()


def kill_in_mid_job(side: Side, say: Callable[[str], None]) -> None:
    """Every GPU holds the model; two jobs run; the worker of one of them is killed, the others are idle. `recover_s`:
    until the job begins elsewhere. `times` kills; all but the first of `jobs` run so long as `run_s` says."""
    load, rng = side.load, random.Random(_SEED)
    workers = {gpu: side.worker(gpu) for gpu in side.gpus}
    side.submit([0.2] * (8 * load.slots * load.gpus))  # so much that each loads the model
    side.settle()
    side.begin()
    for number in range(load.times):
        side.submit([rng.uniform(*load.run_s) for _ in range(load.jobs)])
        side.until_running(load.jobs)
        time.sleep(rng.uniform(0.1, 0.4) * load.run_s[0])
        gpu = max(side.gpus, key=lambda g: len(side.journal.read().running(g)))
        struck, at = side.journal.running(gpu), time.time()
        side.strike(workers[gpu], gpu)
        back = side.until(lambda j=struck, t=at: all(side.journal.read().started_after(i, t) for i in j))  # type: ignore[misc]
        say(f"{side.name}: kill {number + 1} of {load.times}, {len(struck)} jobs {'run again' if back else 'LATE'}")
        if not back:
            break  # one that waits so long says enough
        workers[gpu] = side.worker(gpu)
        side.settle()
    side.settle()


def outlive_leases(side: Side, say: Callable[[str], None]) -> None:
    """No fault at all: jobs that run twenty times as long as a lease, all at once."""
    load = side.load
    side.worker()
    side.begin()
    side.submit([load.run_s[0]] * load.jobs)
    side.settle()
    say(
        f"{side.name}: {side.ended()} of {load.jobs} jobs done, {side.journal.read().started_twice} of them begun twice"
    )
