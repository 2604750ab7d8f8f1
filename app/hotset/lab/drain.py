"""Jobs of no length per second through one worker at concurrency 2: what the machinery around a run costs.

All arms ask the same simulated server, whose runs take no time, for one token. The backlog is there before the worker
starts; the yardstick is the server's own trace, from the first start to the last finish.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path

from hotset.agents.demo import ROUNDS, demo_prompts
from hotset.client import Client
from hotset.errors import ResultTimeout
from hotset.lab.figures import Run
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Addresses, Running, Stage
from hotset.lab.stock import TASK, broker_beside, make_stock_app

_OPTIONS = {"hotset_run_s": 0.01}
_CONCURRENCY = "2"
_LOOK_S = 0.2
_PATIENCE_S = 60.0


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    arms = list(_ARMS)
    fleet, trace = stage.folder / "drain.fleet.yaml", stage.folder / "drain.trace.jsonl"
    (port,) = free_ports(1)
    (gpu,) = write_fleet(fleet, [port])
    with ExitStack() as held:
        server = stage.start_model_server(fleet, gpu, scale=0, port=port, trace=trace)
        held.callback(server.stop)
        for number in range(1, runs + 1):
            found: dict[str, dict[str, float]] = {}
            for name in arms:
                found[name] = {"jobs_per_s": _arm(stage, name, fleet, trace, jobs)}
                progress(f"run {number} of {runs}: {name} {found[name]['jobs_per_s']:,.0f} jobs/s")
            yield {name: found[name] for name in _ARMS}
            arms.append(arms.pop(0))  # nobody is always the first


def _arm(stage: Stage, name: str, fleet: Path, trace: Path, jobs: int) -> float:
    addresses = stage.fresh()
    read = trace.stat().st_size
    worker = _ARMS[name](stage, addresses, fleet, jobs)
    try:
        return _rate(trace, read, jobs, worker)
    finally:
        worker.stop()


def _hotset(stage: Stage, addresses: Addresses, fleet: Path, jobs: int) -> Running:
    with Client(settings=addresses.settings(fleet)) as client:
        client.submit_many({"agent": a, "prompt": p, "options": _OPTIONS} for a, p in _light(client, jobs))
        (gpu,) = client.fleet.gpus
    return stage.start_worker(addresses, fleet, gpu.name, scale=1.0)


def _celery(stage: Stage, addresses: Addresses, fleet: Path, jobs: int, *, backend: bool = True) -> Running:
    broker = broker_beside(addresses.broker_url)
    with Client(settings=addresses.settings(fleet)) as client:
        work = _light(client, jobs)
        (gpu,) = client.fleet.gpus
        model = next(q.model for q in client.fleet.queues.values() if q.tier == "light")
    app = make_stock_app(broker)
    for _, prompt in work:
        app.tasks[TASK].apply_async(kwargs={"model": model, "prompt": prompt, **_OPTIONS})
    app.close()
    environ = {
        "HOTSET_STOCK_BROKER": broker,
        "HOTSET_STOCK_BACKEND": broker_beside(addresses.cache_url) if backend else "",
        "HOTSET_STOCK_SERVER": gpu.address or "",
    }
    return stage.start_celery("hotset.lab.stock", ["--concurrency", _CONCURRENCY], environ)


def _celery_bare(stage: Stage, addresses: Addresses, fleet: Path, jobs: int) -> Running:
    return _celery(stage, addresses, fleet, jobs, backend=False)


_ARMS: dict[str, Callable[[Stage, Addresses, Path, int], Running]] = {
    "hotset": _hotset,
    "celery": _celery,
    "celery_bare": _celery_bare,
}


def _light(client: Client, count: int) -> list[tuple[str, str]]:
    """One model, so that nobody pays for a swap."""
    light = [(a, p) for a, p in demo_prompts(ROUNDS) if client.registry.get(a).tier == "light"]
    return list(islice(cycle(light), count))


def _rate(trace: Path, read: int, jobs: int, worker: Running) -> float:
    """Jobs per wall second, once the server has finished them all; its trace is read from that byte on."""
    started: list[datetime] = []
    finished: list[datetime] = []
    changed = time.monotonic()
    with trace.open("rb") as file:
        file.seek(read)
        while len(finished) < jobs:
            time.sleep(_LOOK_S)
            worker.check()
            before = len(finished)
            while (line := file.readline()).endswith(b"\n"):
                event = json.loads(line)
                if event["event"] == "start":
                    started.append(datetime.fromisoformat(event["at"]))
                elif event["event"] == "finish" and event["outcome"] == "succeeded":
                    finished.append(datetime.fromisoformat(event["at"]))
            file.seek(-len(line), os.SEEK_CUR)  # half a line: next time
            if len(finished) > before:
                changed = time.monotonic()
            elif time.monotonic() - changed > _PATIENCE_S:
                raise ResultTimeout(f"No job has run for {_PATIENCE_S:g} s; {len(finished)} of {jobs} are done.")
    return jobs / (max(finished) - min(started)).total_seconds()
