"""The HTTP face: Ollama's routes over the simulated GPU."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
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
from hotset.modelserver import describe, pull
from hotset.modelserver.admission import Admission, Rules
from hotset.modelserver.answers import Answer, Join, Json, Lines
from hotset.modelserver.bodies import parse_chat, parse_embed, parse_generate, parse_json, parse_old_embed
from hotset.modelserver.clock import Clock
from hotset.modelserver.embedding import Embedder
from hotset.modelserver.faults import Switches
from hotset.modelserver.generate import Generator, join
from hotset.modelserver.gpu import Limits, SimulatedGpu
from hotset.modelserver.log import TraceLog
from hotset.modelserver.lookup import Lookup
from hotset.modelserver.profiles import Profile
from hotset.modelserver.profiles import join as all_profiles
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
    profiles: Mapping[str, Profile] | None
    faults: Mapping[str, Any] | None
    fault_seed: int
    patience_s: float


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
    profiles: Mapping[str, Profile] | None = None,
    faults: Mapping[str, Any] | None = None,
    fault_seed: int = 0,
    patience_s: float = 60.0,
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
    profiles        models that behave otherwise than the fleet tells, or that it has not
    faults          what goes wrong on its own: fault, or fault@model, to its share (see `faults.parse_switch`)
    fault_seed      of the faults
    patience_s      wall seconds after which a client that takes nothing is hung up on

    Raises UsageError for a GPU that the fleet has not, and for values that make no sense. One application is one GPU.
    """
    device = _gpu(fleet, gpu)
    if not 0 <= scale < math.inf:
        raise UsageError(f"A scale of {scale} makes no sense.", remedy="Give wall seconds per model second, 0 or more.")
    if admission not in get_args(Admission):
        raise UsageError(f"There is no admission {admission!r}.", remedy="It is 'exact' or 'ollama'.")
    clock = Clock(scale)
    switches = Switches()
    switches.set(faults or {}, seed=fault_seed)
    trace = TraceLog(log, gpu=gpu, clock=clock)
    simulated = SimulatedGpu(
        device,
        rules=Rules(device.vram_mb, admission, max_loaded),
        limits=Limits(
            num_parallel=num_parallel or device.slots,
            max_queue=max_queue,
            keep_alive_s=keep_alive_s,
            load_timeout_s=load_timeout_s,
        ),
        clock=clock,
        log=trace,
        faults=switches,
    )
    lookup = Lookup(all_profiles(fleet, profiles or {}))
    api = _Api(
        lookup,
        simulated,
        Generator(lookup, simulated, clock=clock, log=trace, seed=seed, faults=switches),
        Embedder(lookup, simulated, clock=clock, log=trace, seed=seed),
        switches,
        patience_s=patience_s,
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


def _gpu(fleet: Fleet, gpu: str) -> Gpu:
    try:
        return fleet.gpu(gpu)
    except KeyError:
        names = [each.name for each in fleet.gpus]
        remedy = did_you_mean(gpu, names, "hotset status")
        raise UsageError(f"The fleet has no GPU {gpu!r}, only {', '.join(names)}.", remedy=remedy) from None


class _Api:
    """The routes. Each reads its body, and hands it to the one who knows."""

    def __init__(
        self,
        lookup: Lookup,
        gpu: SimulatedGpu,
        generator: Generator,
        embedder: Embedder,
        faults: Switches,
        *,
        patience_s: float,
    ) -> None:
        self._lookup = lookup
        self._gpu = gpu
        self._generator = generator
        self._embedder = embedder
        self._faults = faults
        self._patience_s = patience_s
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
            Route("/api/embeddings", self.embeddings, methods=["POST"]),
            Route("/api/pull", self.pull, methods=["POST"]),
            Route("/hotset/faults", self.faults, methods=["GET", "POST"]),
        ]

    async def alive(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return Json({"version": VERSION, "simulated": True, "scale": self._gpu.clock.scale})

    async def tags(self, _: Request) -> Response:
        return Json({"models": [describe.tag_row(each, self._since) for each in self._lookup.profiles]})

    async def ps(self, _: Request) -> Response:
        rows = [describe.loaded_row(each, self._gpu.clock) for each in self._gpu.residents]
        # The longest to stay first, to the second, as Ollama sorts them.
        return Json({"models": sorted(rows, key=lambda row: str(row["expires_at"])[:19], reverse=True)})

    async def show(self, request: Request) -> Response:
        body = await _body(request)
        name = body.get("model") or body.get("name")
        if not name:
            raise Refusal(400, "model is required")
        return Json(describe.card(self._lookup.profile(str(name)), self._since))

    async def generate(self, request: Request) -> Response:
        ask = parse_generate(await _body(request))
        return self._answer(self._generator.lines(ask), join=None if ask.stream else join)

    async def chat(self, request: Request) -> Response:
        ask = parse_chat(await _body(request))
        return self._answer(self._generator.lines(ask), join=None if ask.stream else join)

    async def embed(self, request: Request) -> Response:
        ask = parse_embed(await _body(request))
        return self._answer(self._embedder.lines(ask), join=_last)

    async def embeddings(self, request: Request) -> Response:
        ask = parse_old_embed(await _body(request))
        return self._answer(self._embedder.lines(ask), join=_only_vector)

    async def pull(self, request: Request) -> Response:
        body = await _body(request)
        name = body.get("model") or body.get("name")
        if not isinstance(name, str):
            raise Refusal(400, "invalid model name")
        lines = pull.progress(self._lookup.find(name), [each.name for each in self._lookup.profiles])
        return self._answer(lines, join=_last if body.get("stream") is False else None)

    async def faults(self, request: Request) -> Response:
        """What goes wrong on its own: told, and set anew. For those on this machine only."""
        if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
            raise Refusal(403, "faults are switched from the machine that serves")
        if request.method == "POST":
            body = await _body(request)
            shares, seed = body.get("faults", {}), body.get("seed", 0)
            unknown = body.keys() - {"faults", "seed"}
            if unknown or not isinstance(shares, dict) or not isinstance(seed, int):
                raise Refusal(400, 'write {"faults": {"load_crash": "1/50"}, "seed": 7}')
            try:
                self._faults.set(shares, seed=seed)
            except UsageError as error:
                raise Refusal(400, str(error)) from error
        return Json({"faults": self._faults.shown()})

    def _answer(self, lines: Lines, *, join: Join | None) -> Answer:
        return Answer(lines, join=join, patience_s=self._patience_s)


def _last(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return lines[-1]


def _only_vector(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"embedding": next(iter(lines[0]["embeddings"]), [])}


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
