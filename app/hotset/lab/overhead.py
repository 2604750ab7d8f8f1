"""What hotset adds to one warm light job. The two arms take turns job by job, so that a noisy moment meets both.

Measured in wall milliseconds from the call to the first token: `client.stream()`, and
`/api/generate` of the same server called with the same body over a connection that is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from typing import Any

import httpx

from hotset.agents import generation_options
from hotset.agents.demo import ROUNDS, demo_prompts
from hotset.client import Client
from hotset.errors import GenerationFailed
from hotset.lab.figures import Run, percentile
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Stage

_SCALE = 0.1
_WARM_UP = 20
#: Model seconds that a run takes; 20 tokens of tinyllama, 20 ms of wall time.
_OPTIONS = {"hotset_run_s": 0.2}
_TIMEOUT_S = 60.0


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    fleet = stage.folder / "overhead.fleet.yaml"
    (port,) = free_ports(1)
    (gpu,) = write_fleet(fleet, [port])
    addresses = stage.fresh()
    with ExitStack() as held:
        server = stage.start_model_server(fleet, gpu, scale=_SCALE, port=port, trace=None)
        held.callback(server.stop)
        worker = stage.start_worker(addresses, fleet, gpu, scale=_SCALE)
        held.callback(worker.stop)
        client = held.enter_context(Client(settings=addresses.settings(fleet, scale=_SCALE)))
        http = held.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S))
        work = _work(client)
        for agent, prompt, body in islice(work, _WARM_UP):
            _hotset(client, agent, prompt)
            _direct(http, body)
        for number in range(1, runs + 1):
            took: dict[str, list[float]] = {"hotset": [], "direct": []}
            for agent, prompt, body in islice(work, jobs):
                took["hotset"].append(_hotset(client, agent, prompt))
                took["direct"].append(_direct(http, body))
            worker.check()
            run = _figures(took)
            progress(
                f"run {number} of {runs}: first token p50 {run['hotset']['first_token_ms_p50']:.1f} ms, "
                f"direct {run['direct']['first_token_ms_p50']:.1f} ms"
            )
            yield run


def _work(client: Client) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Light agents' prompts for ever, each with the very request that the worker makes of it."""
    queue = next(q for q in client.fleet.queues.values() if q.tier == "light")
    model = client.fleet.models[queue.model]
    light = [(a, p) for a, p in demo_prompts(ROUNDS) if client.registry.get(a).tier == "light"]
    for name, prompt in cycle(light):
        agent = client.registry.get(name)
        yield (
            name,
            prompt,
            {
                "model": model.name,
                "prompt": prompt,
                "system": agent.system,
                "options": generation_options(agent, model, queue.tier, _OPTIONS),
                "keep_alive": -1,
                "stream": True,
            },
        )


def _hotset(client: Client, agent: str, prompt: str) -> float:
    began = time.perf_counter()
    first: float | None = None
    for event in client.stream(agent, prompt, options=_OPTIONS, timeout=_TIMEOUT_S):
        if first is None and event.kind == "token":
            first = time.perf_counter()
    return _ms(began, first, "A job")


def _direct(http: httpx.Client, body: dict[str, Any]) -> float:
    began = time.perf_counter()
    first: float | None = None
    with http.stream("POST", "/api/generate", json=body) as response:
        for line in response.iter_lines():
            if first is None and json.loads(line).get("response"):
                first = time.perf_counter()
    return _ms(began, first, "The direct request")


def _ms(began: float, first: float | None, what: str) -> float:
    if first is None:
        raise GenerationFailed(f"{what} brought no token: nothing to measure.")
    return (first - began) * 1000


def _figures(took: dict[str, list[float]]) -> Run:
    """`added`: beyond the direct arm's median."""
    base = percentile(took["direct"], 0.5)
    figures: dict[str, dict[str, float]] = {}
    for arm, values in took.items():
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        figures[arm] = {
            "first_token_ms_p50": p50,
            "first_token_ms_p99": p99,
            "added_ms_p50": p50 - base,
            "added_ms_p99": p99 - base,
        }
    return figures
