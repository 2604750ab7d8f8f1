"""What lies between a model server's token and its reader: many streams at once, then one after the other.

The model server writes into each token when it sent it (see `stamps`), so that `added_ms` is the age of the first token
when the client has it: by `AsyncClient.stream`, and directly over HTTP. `first_token_ms` counts from the call. A stream
whose words were not all of the answer's, once and in order, is counted under `gaps`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from hotset.client import AsyncClient
from hotset.errors import GenerationFailed
from hotset.fleet import Fleet
from hotset.lab.figures import Run, percentile
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Stage
from hotset.lab.stamps import ages_ms, is_whole, stamping

#: Tokens of an answer: 2 s of streaming where many run at once, a short one where each waits for the last.
_MANY_TOKENS, _ONE_TOKENS = 20, 2
#: Streams of the arms `..._one`, one after the other.
_ONE = 20
_TIMEOUT_S = 120.0
_AGENT = "log-aggregator-loki"


@dataclass(frozen=True, slots=True)
class _Stream:
    """One stream: call to first token, age of the first token, and whether it was whole."""

    first_ms: float
    age_ms: float
    whole: bool


#: (number of the stream, tokens) -> what was measured
_Follow = Callable[[int, int], Awaitable[_Stream]]


def measure(stage: Stage, runs: int, jobs: int, progress: Callable[[str], None]) -> Iterator[Run]:
    """`jobs`: streams at once."""
    fleet_path = stage.folder / "stream.fleet.yaml"
    (port,) = free_ports(1)
    (gpu,) = write_fleet(fleet_path, [port])
    _widen(fleet_path, slots=jobs)
    addresses = stage.fresh()
    with ExitStack() as held:
        held.enter_context(stamping(port))
        worker = stage.start_worker(addresses, fleet_path, gpu, scale=1.0)
        held.callback(worker.stop)
        settings = addresses.settings(fleet_path)
        for number in range(1, runs + 1):
            run = asyncio.run(_one_run(AsyncClient(settings=settings), port, jobs))
            worker.check()
            ages = {arm: f"{figures['added_ms_p50']:.1f} ms" for arm, figures in run.items()}
            progress(
                f"run {number} of {runs}: first token of {jobs} streams at once {ages['hotset']} old, "
                f"directly {ages['direct']}; of one stream {ages['hotset_one']}, directly {ages['direct_one']}"
            )
            yield run


async def _one_run(client: AsyncClient, port: int, streams: int) -> Run:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=streams)
    async with (
        client,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S, limits=limits, trust_env=False
        ) as http,
    ):
        model = _model(client.fleet)

        async def hotset(number: int, tokens: int) -> _Stream:
            return await _hotset(client, number, tokens)

        async def direct(number: int, tokens: int) -> _Stream:
            return await _direct(http, model, number, tokens)

        # The model is loaded, connections stand.
        await asyncio.gather(*(follow(i, 1) for i in range(streams) for follow in (hotset, direct)))
        return {
            "hotset": _figures(await asyncio.gather(*(hotset(i, _MANY_TOKENS) for i in range(streams)))),
            "direct": _figures(await asyncio.gather(*(direct(i, _MANY_TOKENS) for i in range(streams)))),
            **await _in_turn({"hotset_one": hotset, "direct_one": direct}),
        }


async def _in_turn(arms: dict[str, _Follow]) -> Run:
    """The arms take turns stream by stream, so that a noisy moment meets both."""
    done: dict[str, list[_Stream]] = {arm: [] for arm in arms}
    for number in range(_ONE):
        for arm, follow in arms.items():
            done[arm].append(await follow(number, _ONE_TOKENS))
    return {arm: _figures(streams, at_once=1) for arm, streams in done.items()}


async def _hotset(client: AsyncClient, number: int, tokens: int) -> _Stream:
    began = time.perf_counter()
    first: tuple[float, float] | None = None
    said, answer = "", None
    options = {"max_tokens": tokens}
    async for event in client.stream(_AGENT, f"stream {number}", options=options, timeout=_TIMEOUT_S):
        if first is None and event.text:
            first = _first(began, event.text)
        said += event.text
        answer = event.result
    if first is None or answer is None:
        raise GenerationFailed(f"Stream {number} brought no token: nothing to measure.")
    return _Stream(*first, whole=said == answer.text and is_whole(said, tokens))


async def _direct(http: httpx.AsyncClient, model: str, number: int, tokens: int) -> _Stream:
    began = time.perf_counter()
    first: tuple[float, float] | None = None
    said = ""
    body: dict[str, Any] = {"model": model, "prompt": f"stream {number}", "options": {"num_predict": tokens}}
    async with http.stream("POST", "/api/generate", json={**body, "stream": True, "keep_alive": -1}) as response:
        async for line in response.aiter_lines():
            text = json.loads(line)["response"]
            if first is None and text:
                first = _first(began, text)
            said += text
    if first is None:
        raise GenerationFailed(f"The direct stream {number} brought no token: nothing to measure.")
    return _Stream(*first, whole=is_whole(said, tokens))


def _first(began: float, text: str) -> tuple[float, float]:
    """Call to first token, and the age of that token."""
    return (time.perf_counter() - began) * 1000, ages_ms(text, time.time_ns())[0]


def _figures(streams: list[_Stream], at_once: int | None = None) -> dict[str, float]:
    ages = [s.age_ms for s in streams]
    return {
        "first_token_ms_p50": percentile([s.first_ms for s in streams], 0.5),
        "added_ms_p50": percentile(ages, 0.5),
        "added_ms_p99": percentile(ages, 0.99),
        "streams": float(at_once or len(streams)),
        "gaps": float(sum(not s.whole for s in streams)),
    }


def _model(fleet: Fleet) -> str:
    return next(q.model for q in fleet.queues.values() if q.tier == "light")


def _widen(path: Path, *, slots: int) -> None:
    """The fleet file's one GPU takes that many requests at once."""
    rows = json.loads(path.read_text("utf-8"))
    rows["gpus"][0]["slots"] = slots
    path.write_text(json.dumps(rows, indent=1), "utf-8")
