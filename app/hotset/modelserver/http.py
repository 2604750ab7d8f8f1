"""The HTTP face: Ollama's routes over the simulated GPU."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, get_args

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hotset.errors import UsageError, did_you_mean
from hotset.fleet import Fleet, Gpu
from hotset.modelserver import describe
from hotset.modelserver.admission import Admission, Rules
from hotset.modelserver.answers import Answer, Json
from hotset.modelserver.bodies import parse_chat, parse_embed, parse_generate, parse_json
from hotset.modelserver.clock import Clock
from hotset.modelserver.embedding import Embedder
from hotset.modelserver.generate import Generator, join
from hotset.modelserver.gpu import Limits, SimulatedGpu
from hotset.modelserver.log import TraceLog
from hotset.modelserver.lookup import Lookup
from hotset.modelserver.refusals import Refusal

VERSION = "0.33.0-hotset"
_MAX_BODY = 8 * 1024 * 1024


class Simulation(TypedDict, total=False):
    """The keywords of `create_app`, for those who hand them on."""

    scale: float
    admission: Admission
    log: Path | None
    seed: int
    num_parallel: int | None
    max_loaded: int
    max_queue: int
    keep_alive_s: float
    load_timeout_s: float


def create_app(
    fleet: Fleet,
    gpu: str,
    *,
    scale: float = 1.0,
    admission: Admission = "exact",
    log: Path | None = None,
    seed: int = 0,
    num_parallel: int | None = None,
    max_loaded: int = 0,
    max_queue: int = 512,
    keep_alive_s: float = 300.0,
    load_timeout_s: float = 300.0,
) -> Starlette:
    """An Ollama-compatible ASGI application that simulates this GPU of the fleet. Seconds are model seconds.

    scale           wall seconds per model second; 0: loads and runs take no time
    admission       "exact": a model fits if its size does; "ollama": its 80 % rule, and partly on the CPU
    log             file for the trace, overwritten; opened here and closed when the server stops
    seed            of the words and run lengths
    num_parallel    requests at once per model (None: the GPU's slots)
    max_loaded      models at once (0: 3 with "ollama", no limit with "exact")
    max_queue       requests that may wait for a load
    keep_alive_s    where a request says nothing

    Raises UsageError for a GPU that the fleet has not, and for values that make no sense. One application is one GPU.
    """
    profile = _profile(fleet, gpu)
    if not 0 <= scale < math.inf:
        raise UsageError(f"A scale of {scale} makes no sense.", remedy="Give wall seconds per model second, 0 or more.")
    if admission not in get_args(Admission):
        raise UsageError(f"There is no admission {admission!r}.", remedy="It is 'exact' or 'ollama'.")
    clock = Clock(scale)
    trace = TraceLog(log, gpu=gpu, clock=clock)
    simulated = SimulatedGpu(
        profile,
        rules=Rules(profile.vram_mb, admission, max_loaded),
        limits=Limits(
            num_parallel=num_parallel or profile.slots,
            max_queue=max_queue,
            keep_alive_s=keep_alive_s,
            load_timeout_s=load_timeout_s,
        ),
        clock=clock,
        log=trace,
    )
    lookup = Lookup(fleet)
    api = _Api(
        lookup,
        simulated,
        Generator(fleet, lookup, simulated, clock=clock, log=trace, seed=seed),
        Embedder(lookup, simulated, clock=clock, log=trace, seed=seed),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        serving = asyncio.create_task(simulated.run())
        try:
            yield
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            trace.close()

    return Starlette(
        routes=api.routes(),
        middleware=[Middleware(_Marked)],
        exception_handlers={Refusal: _refused, HTTPException: _no_route, ClientDisconnect: _nobody},
        lifespan=lifespan,
    )


def _profile(fleet: Fleet, gpu: str) -> Gpu:
    try:
        return fleet.gpu(gpu)
    except KeyError:
        names = [each.name for each in fleet.gpus]
        remedy = did_you_mean(gpu, names, "hotset status")
        raise UsageError(f"The fleet has no GPU {gpu!r}, only {', '.join(names)}.", remedy=remedy) from None


class _Api:
    """The routes. Each reads its body, and hands it to the one who knows."""

    def __init__(self, lookup: Lookup, gpu: SimulatedGpu, generator: Generator, embedder: Embedder) -> None:
        self._lookup = lookup
        self._gpu = gpu
        self._generator = generator
        self._embedder = embedder
        self._since = describe.now()

    def routes(self) -> list[Route]:
        return [
            Route("/", self.alive),
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/ps", self.ps),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/chat", self.chat, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
        ]

    async def alive(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return Json({"version": VERSION, "simulated": True})

    async def tags(self, _: Request) -> Response:
        return Json({"models": [describe.tag_row(model, self._since) for model in self._lookup.models]})

    async def ps(self, _: Request) -> Response:
        return Json({"models": [describe.loaded_row(each, self._gpu.clock) for each in self._gpu.residents]})

    async def show(self, request: Request) -> Response:
        body = await _body(request)
        name = body.get("model") or body.get("name") or ""
        return Json(describe.card(self._lookup.model(str(name)), self._since))

    async def generate(self, request: Request) -> Response:
        ask = parse_generate(await _body(request))
        return Answer(self._generator.lines(ask), join=None if ask.stream else join)

    async def chat(self, request: Request) -> Response:
        ask = parse_chat(await _body(request))
        return Answer(self._generator.lines(ask), join=None if ask.stream else join)

    async def embed(self, request: Request) -> Response:
        ask = parse_embed(await _body(request))
        return Answer(self._embedder.lines(ask), join=_only)


def _only(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return lines[0]


async def _body(request: Request) -> dict[str, Any]:
    """The body as a JSON object; refuses what is too large before it is all read."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > _MAX_BODY:
            raise Refusal(413, f"request body too large, at most {_MAX_BODY >> 20} MiB")
    return parse_json(bytes(raw))


async def _refused(_: Request, refusal: Any) -> Response:
    return Json({"error": refusal.message}, refusal.status)


async def _no_route(_: Request, error: Any) -> Response:
    """404 and 405 in the words of the framework that Ollama uses."""
    words: Mapping[int, str] = {404: "404 page not found", 405: "405 method not allowed"}
    return PlainTextResponse(words.get(error.status_code, error.detail), error.status_code)


async def _nobody(_: Request, __: Exception) -> Response:
    """The client left while it sent: nobody reads this."""
    return Response(status_code=499)


class _Marked:
    """Every answer says in a header that it is simulated."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Hotset-Simulated"] = "1"
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)
