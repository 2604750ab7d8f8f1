"""A backlog on one and on two equal simulated GPUs: does the second one double the work done?

A share of each tier as in the catalogue, run times drawn with a seed, all submitted at once. Throughput is counted in
model time, from the first start to the last finish in Postgres.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hotset.agents.demo import ROUNDS, demo_prompts
from hotset.client import Client
from hotset.errors import GenerationFailed, ResultTimeout
from hotset.jobs import JobView, State
from hotset.lab.figures import Run
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Running, Stage

#: Wall seconds per model second: a job of 2 to 25 model seconds must dwarf the milliseconds that Python costs on two
#: cores, and the bench should not take all day.
_SCALE = 0.05
_GPUS = (1, 2)
_SEED = 2
_LOOK_S = 0.5
#: Standard deviation of a run's logarithm: 0.6 of the mean, as the simulated GPU itself draws them.
_SIGMA = 0.554
#: A bench gives up when nothing has finished for so long (wall seconds).
_PATIENCE_S = 90.0


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    for number in range(1, runs + 1):
        run: dict[str, dict[str, float]] = {}
        for gpus in _GPUS if number % 2 else reversed(_GPUS):
            figures = run[f"gpus_{gpus}"] = _arm(stage, gpus, jobs)
            progress(f"run {number} of {runs}: {gpus} GPUs {figures['throughput_per_h']:,.0f} jobs per model hour")
        yield {f"gpus_{gpus}": run[f"gpus_{gpus}"] for gpus in _GPUS}


def _arm(stage: Stage, gpus: int, jobs: int) -> dict[str, float]:
    fleet = stage.folder / f"scale-{gpus}.fleet.yaml"
    ports = free_ports(gpus)
    names = write_fleet(fleet, ports)
    addresses = stage.fresh()
    with ExitStack() as held:
        started: list[Running] = []
        for name, port in zip(names, ports, strict=True):
            started.append(stage.start_model_server(fleet, name, scale=_SCALE, port=port, trace=_trace(stage, name)))
            held.callback(started[-1].stop)
        for name in names:
            started.append(stage.start_worker(addresses, fleet, name, scale=_SCALE))
            held.callback(started[-1].stop)
        client = held.enter_context(Client(settings=addresses.settings(fleet, scale=_SCALE)))
        client.submit_many(_backlog(client, jobs))
        views = _until_done(client, jobs, started)
        swaps = sum(_loads(stage, name) for name in names)
    return {**_figures(views), "swaps": swaps}


def _backlog(client: Client, jobs: int) -> list[dict[str, Any]]:
    """The same jobs every time, of as many model seconds as their queues say on average."""
    rng = random.Random(_SEED)
    prompts = demo_prompts(ROUNDS)
    run_s = {queue.tier: queue.run_s for queue in client.fleet.queues.values()}
    backlog = []
    for i in range(jobs):
        agent, prompt = prompts[i % len(prompts)]
        mean = run_s[client.registry.get(agent).tier]
        drawn = mean * rng.lognormvariate(-(_SIGMA**2) / 2, _SIGMA)
        backlog.append({"agent": agent, "prompt": prompt, "options": {"hotset_run_s": round(drawn, 3)}})
    return backlog


def _until_done(client: Client, jobs: int, started: list[Running]) -> list[JobView]:
    """All jobs, each succeeded."""
    done, changed = 0, time.monotonic()
    while done < jobs:
        time.sleep(_LOOK_S)
        for process in started:
            process.check()
        states = list(client.counts().values())
        now_done = sum(by.get(State.SUCCEEDED, 0) for by in states)
        if lost := sum(n for by in states for state, n in by.items() if State(state).terminal) - now_done:
            raise GenerationFailed(f"{lost} jobs of the bench did not succeed; its figures would mean nothing.")
        if now_done != done:
            done, changed = now_done, time.monotonic()
        elif time.monotonic() - changed > _PATIENCE_S:
            raise ResultTimeout(f"No job has finished for {_PATIENCE_S:g} s; {done} of {jobs} are done.")
    return client.jobs(limit=jobs)


def _figures(views: list[JobView]) -> dict[str, float]:
    first = min(view.started_at for view in views if view.started_at is not None)
    last = max(view.finished_at for view in views if view.finished_at is not None)
    makespan_s = (last - first).total_seconds() / _SCALE
    return {"throughput_per_h": len(views) * 3600 / makespan_s, "makespan_s": makespan_s}


def _trace(stage: Stage, gpu: str) -> Path:
    return stage.folder / f"scale-{gpu}.trace.jsonl"


def _loads(stage: Stage, gpu: str) -> int:
    return _trace(stage, gpu).read_text("utf-8").count('"event": "loaded"')
