"""Questions that show how a model server really behaves, for `hotset doctor`: does it generate, how many at once, does
it load a model again without a word, who else uses it.

They are sure to end, and disturb little: requests are those of jobs but for `keep_alive`, which they leave as it is.
Nothing here compares speeds: a busy machine must not look like a broken one.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import httpx

from hotset.errors import HotsetError, ModelServerUnavailable
from hotset.models.generation import OllamaGeneration, unavailable
from hotset.models.lanes import Lanes
from hotset.models.names import canonical
from hotset.models.protocol import Prompt, Usage

_MIB = 1024 * 1024
_TRIES = 2
_STEP_S = 0.005
_JOIN_S = 2.0
#: Others get so long after the first stream's first token: some wall seconds, or a multiple of what that one took.
_PATIENCE_S, _PATIENCE = 2.0, 10.0
#: Tokens at the end of a stream that count for nothing.
_LATE = 2
#: A stream shorter than this says nothing about those that waited beside it.
_TELLING_S = 0.5
#: A reload is so much slower than the same request right after it, in each of so many rounds.
_RELOAD, _RELOAD_FLOOR_MS, _RELOAD_ROUNDS = 5.0, 3.0, 3
#: Ollama writes "for ever" as some 292 years.
_FOREVER_S = 50 * 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Server:
    """`scale`: what a simulated server says of itself; a real one says nothing. `models`: canonical names."""

    version: str
    simulated: bool
    models: tuple[str, ...]
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A row of `/api/ps`. `expires_at`: epoch seconds, inf for a model that is kept for ever, None if not told."""

    model: str
    size_mb: float
    vram_mb: float
    context: int | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a short answer took, in wall seconds; `usage` is the server's own account."""

    first_token_s: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class AtOnce:
    """`streams` generations gave tokens at the same time. Not `sure`: they were too short to tell."""

    streams: int
    sure: bool


class Probe:
    """Asks one model server. `answer_s`: wall seconds for answers that need no model."""

    def __init__(self, address: str, *, answer_s: float) -> None:
        self.address = address.rstrip("/")
        self._answer_s = answer_s
        verify: ssl.SSLContext | bool = ssl.create_default_context() if self.address.startswith("https:") else False
        self._lanes = Lanes(self.address, headers={}, verify=verify, keep=4)
        self._client = httpx.Client(base_url=self.address, verify=verify, trust_env=False, timeout=answer_s)

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lanes.close()
        self._client.close()

    def server(self) -> Server:
        """What it says of itself. Raises ModelServerUnavailable."""
        said, tags = self._get("/api/version"), self._get("/api/tags")
        scale = said.get("scale")
        return Server(
            version=str(said.get("version", "")),
            simulated=said.get("simulated") is True,
            models=tuple(canonical(str(row.get("name"))) for row in tags.get("models") or ()),
            scale=float(scale) if isinstance(scale, int | float) else None,
        )

    def held(self) -> tuple[Held, ...]:
        """What is loaded now, by anyone. Raises ModelServerUnavailable."""
        return tuple(_held(row) for row in self._get("/api/ps").get("models") or ())

    def speak(self, request: Prompt, *, within_s: float) -> Spoken:
        """Generate. Raises as every generation does: ModelServerUnavailable, ModelNotFound, GenerationFailed."""
        began = time.monotonic()
        first: float | None = None
        usage: Usage | None = None
        generation = self._generation(request, within_s)
        with contextlib.closing(generation), _closed_after(generation, within_s):
            for chunk in generation:
                if first is None and (chunk.text or chunk.thinking):
                    first = time.monotonic()
                usage = chunk.usage or usage
        return Spoken((first or time.monotonic()) - began, usage or Usage())

    def at_once(self, request: Prompt, wanted: int, *, within_s: float) -> AtOnce:
        """How many of `wanted` such requests, sent together, give tokens at the same time. `request` should be long.

        What parallel requests a server allows cannot be read from it. One counts from its first to its latest token:
        the order of events is compared, never their speed. Raises what the streams raised, if all failed.
        """
        best = AtOnce(0, sure=False)
        for _ in range(_TRIES):
            seen = self._together(request, wanted, within_s / _TRIES)
            best = max(best, seen, key=lambda each: (each.streams, each.sure))
            if best.streams >= wanted:
                break
        return best

    def reloads(self, request: Prompt, load_options: Mapping[str, Any], *, within_s: float) -> bool:
        """Whether the request makes the server load its model again, right after a preload with `load_options`.

        `load_duration` of the request is compared with that of its repetition, which finds the model as it wants it.
        """
        until = time.monotonic() + within_s
        for _ in range(_RELOAD_ROUNDS):
            self._preload(request.model, load_options, until - time.monotonic())
            first = self.speak(request, within_s=until - time.monotonic()).usage.load_ms
            again = self.speak(request, within_s=until - time.monotonic()).usage.load_ms
            if first <= _RELOAD * again + _RELOAD_FLOOR_MS:
                return False
        return True

    def _together(self, request: Prompt, wanted: int, within_s: float) -> AtOnce:
        began = time.monotonic()
        streams = [_Stream(self._generation(request, within_s)) for _ in range(wanted)]
        for stream in streams:
            stream.start()
        try:
            while not _settled(streams, began, time.monotonic(), within_s):
                time.sleep(_STEP_S)
            spans = [span for span in (s.span() for s in streams) if span is not None]
        finally:
            for stream in streams:
                stream.generation.close()
            for stream in streams:
                stream.join(_JOIN_S)
        if not spans:
            raise next((s.error for s in streams if s.error), None) or unavailable(
                self.address, TimeoutError(f"no token within {within_s:g} s")
            )
        most = most_at_once(spans)
        return AtOnce(most, sure=most >= wanted or max(latest - first for first, latest in spans) >= _TELLING_S)

    def _generation(self, request: Prompt, within_s: float) -> OllamaGeneration:
        body: dict[str, Any] = {
            "model": request.model,
            "prompt": request.prompt,
            "options": dict(request.options),
            "stream": True,
        }
        if request.system is not None:
            body["system"] = request.system
        limit = max(within_s, 0.001)
        return OllamaGeneration(
            self._lanes,
            body,
            address=self.address,
            connect_timeout_s=min(self._answer_s, limit),
            first_token_timeout_s=limit,
            stall_timeout_s=limit,
        )

    def _preload(self, model: str, options: Mapping[str, Any], within_s: float) -> None:
        body = {"model": model, "options": dict(options), "stream": False}
        try:
            self._client.post("/api/generate", json=body, timeout=max(within_s, 0.001)).raise_for_status()
        except httpx.HTTPError as error:
            raise unavailable(self.address, error) from error

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._client.get(path)
            said = response.json() if response.status_code == 200 else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unavailable(self.address, error) from error
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ModelServerUnavailable(
                f"{self.address}{path} answers with status {response.status_code} and no JSON object.",
                remedy="Is this the address of an Ollama server?",
            )
        return said


class _Stream(threading.Thread):
    """Reads one generation and notes when its tokens came."""

    def __init__(self, generation: OllamaGeneration) -> None:
        super().__init__(name="hotset-probe", daemon=True)
        self.generation = generation
        self.times: list[float] = []
        self.over = False
        self.error: HotsetError | None = None

    def run(self) -> None:
        try:
            for chunk in self.generation:
                if chunk.text or chunk.thinking:
                    self.times.append(time.monotonic())
        except HotsetError as e:
            self.error = e
        finally:
            self.over = True

    def span(self) -> tuple[float, float] | None:
        """From its first token to the latest but two: its last words may have been read late, on a busy machine."""
        times = list(self.times)
        return (times[0], times[max(0, len(times) - 1 - _LATE)]) if times else None


def _settled(streams: Sequence[_Stream], began: float, now: float, within_s: float) -> bool:
    """Whether waiting longer would tell no more."""
    spans = [s.span() for s in streams]
    firsts = [span[0] for span in spans if span is not None]
    if now - began >= within_s or all(s.over for s in streams):
        return True
    if len(firsts) == len(streams):
        # Each has gone on after the last one began, or is over: the spans overlap, or never will.
        return all(
            s.over or (span is not None and span[1] > max(firsts)) for s, span in zip(streams, spans, strict=True)
        )
    return bool(firsts) and now - min(firsts) > max(_PATIENCE_S, _PATIENCE * (min(firsts) - began))


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most spans (first token, latest token) that hold one moment in common; touching is not overlapping."""
    held = list(spans)
    together = (sum(first <= moment < latest for first, latest in held) for moment, _ in held)
    return max(together, default=0) or min(len(held), 1)


@contextlib.contextmanager
def _closed_after(generation: OllamaGeneration, seconds: float) -> Iterator[None]:
    """Break it off then: its own time limits are between tokens, and a slow model gives many."""
    timer = threading.Timer(max(seconds, 0.001), generation.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _held(row: Mapping[str, Any]) -> Held:
    context = row.get("context_length")
    return Held(
        model=canonical(str(row.get("name"))),
        size_mb=row.get("size", 0) / _MIB,
        vram_mb=row.get("size_vram", 0) / _MIB,
        context=context if isinstance(context, int) and context > 0 else None,
        expires_at=expiry(str(row.get("expires_at", "")), time.time()),
    )


def expiry(text: str, now: float) -> float | None:
    """Epoch seconds of an RFC 3339 time; inf when it is as good as never, None when it is no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return float("inf") if seconds - now > _FOREVER_S else seconds
