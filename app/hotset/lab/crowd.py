"""Many agents at once, each in a loop: submit, wait for the answer, think, submit again. Are they served alike?

The figures, of one arm:

    jain_TIER, jain     Jain's index of the completions per agent within a tier; the least of the tiers (1: all alike)
    starved             agents with less than half of what their tier's agents got on average
    rejected            submits that were refused
    lost                jobs that were accepted and have no end
    failed              jobs that ended otherwise than with an answer
    doubled             jobs that the model server finished more than once
    invalid             what in the model server's trace could not have happened on its GPU
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from hotset.agents.own import OwnAgent
from hotset.broker import make_app
from hotset.client import AsyncClient
from hotset.errors import HotsetError, ResultTimeout
from hotset.fleet import Fleet
from hotset.fleet_file import read_fleet
from hotset.jobs import State
from hotset.lab.figures import percentile
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Running, Stage
from hotset.lab.stock import wait_until_ready
from hotset.lab.trace_check import check_trace, read_traces

#: Standard deviation of a run's logarithm: 0.6 of the mean.
_SIGMA = 0.554
#: Short calls of the client that run at once.
_THREADS = 8
#: Wall seconds after which a job that was accepted counts as lost.
_PATIENCE_S = 300.0
_SAY_S = 10.0


@dataclass(slots=True)
class Member:
    """An agent of the crowd. `run_s`: its mean, in model seconds; `done`: its answers so far."""

    agent: str | OwnAgent[Any]
    tier: str
    run_s: float
    rng: random.Random
    done: int = 0

    def options(self) -> dict[str, float]:
        """Of its next job."""
        drawn = self.run_s * self.rng.lognormvariate(-(_SIGMA**2) / 2, _SIGMA)
        return {"hotset_run_s": round(max(drawn, 0.001), 3)}


@dataclass(slots=True)
class Tally:
    """What the crowd saw. `waits` in model seconds."""

    accepted: int = 0
    rejected: int = 0
    succeeded: int = 0
    failed: int = 0
    unanswered: int = 0
    waits: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet of one GPU with its model server, its worker and a client."""

    client: AsyncClient
    fleet: Fleet
    log: Path
    processes: Sequence[Running]


async def loop(
    scene: Scene,
    member: Member,
    tally: Tally,
    *,
    goes_on: Callable[[Member], bool],
    think: Callable[[Member], float],
    answered: Callable[[Member], None],
) -> None:
    """One agent's life. `think`: wall seconds before its next submit; `answered` is told of each answer."""
    while goes_on(member):
        try:
            job = await scene.client.submit(member.agent, "Say what you see.", options=member.options())
        except HotsetError:
            tally.rejected += 1
            await asyncio.sleep(1.0)
            continue
        tally.accepted += 1
        try:
            await job.result(timeout=_PATIENCE_S)
        except ResultTimeout:
            tally.unanswered += 1
            return
        except HotsetError:
            tally.failed += 1
        else:
            tally.succeeded += 1
            wait_s = (await job.view).wait_s
            tally.waits.append(wait_s or 0.0)
            answered(member)
        await asyncio.sleep(think(member))


async def live_on(scene: Scene, lives: Sequence[Any], tally: Tally, progress: Callable[[str], None]) -> None:
    """All lives to their ends. Raises Unavailable when a process of the scene ends before."""
    tasks = [asyncio.ensure_future(life) for life in lives]
    said = time.monotonic()
    try:
        while not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=1.0)
            for process in scene.processes:
                process.check()
            if time.monotonic() - said >= _SAY_S:
                said = time.monotonic()
                progress(f"{tally.accepted} accepted, {tally.succeeded} answered")
    finally:
        for task in tasks:
            task.cancel()
    for task in tasks:
        task.result()


@contextlib.asynccontextmanager
async def open_scene(stage: Stage, *, scale: float) -> AsyncIterator[Scene]:
    """A classic GPU, empty; everything is stopped after the block."""
    (port,) = free_ports(1)
    path = stage.folder / f"crowd-{port}.fleet.yaml"
    (gpu,) = write_fleet(path, [port])
    log = stage.folder / f"crowd-{port}.trace.jsonl"
    addresses = stage.fresh()
    with contextlib.ExitStack() as held:
        server = stage.start_model_server(path, gpu, scale=scale, port=port, trace=log)
        held.callback(server.stop)
        worker = stage.start_worker(addresses, path, gpu, scale=scale)
        held.callback(worker.stop)
        with contextlib.closing(make_app(addresses.broker_url, read_fleet(path).queues)) as app:
            wait_until_ready(app, worker)
        async with AsyncClient(settings=addresses.settings(path, scale=scale), threads=_THREADS) as client:
            yield Scene(client, client.fleet, log, (server, worker))


async def figures(scene: Scene, tally: Tally, done: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """`done`: tier -> completions of each of its agents at the moment at which they are compared."""
    states = (await scene.client.counts()).values()
    open_jobs = sum(n for by in states for state, n in by.items() if not State(state).terminal)
    fairness = {f"jain_{tier}": jain(counts) for tier, counts in done.items()}
    everyone = [count for counts in done.values() for count in counts]
    ends = _finishes(scene.log)
    return {
        "agents": len(everyone),
        "completions": tally.succeeded,
        "completions_min": min(everyone),
        "completions_p50": median(everyone),
        "completions_max": max(everyone),
        **fairness,
        "jain": min(fairness.values()),
        "starved": sum(2 * count < mean(counts) for counts in done.values() for count in counts),
        "rejected": tally.rejected,
        "lost": max(open_jobs, tally.unanswered),
        "failed": tally.failed,
        "doubled": sum(count > 1 for count in ends.values()),
        "invalid": check_trace(read_traces([scene.log]), scene.fleet).violations,
        "wait_s_p50": percentile(tally.waits, 0.5) if tally.waits else 0.0,
        "wait_s_p99": percentile(tally.waits, 0.99) if tally.waits else 0.0,
        "wait_s_max": max(tally.waits, default=0.0),
        "swaps": scene.log.read_text("utf-8").count('"event": "loaded"'),
    }


def jain(counts: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu and Hawe 1984): 1 when all are equal, 1/n when one has everything."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 1.0


def _finishes(log: Path) -> Counter[str]:
    """How often the model server finished each job."""
    events = map(json.loads, log.read_text("utf-8").splitlines())
    return Counter(e["job"] for e in events if e["event"] == "finish" and e["outcome"] == "succeeded")
