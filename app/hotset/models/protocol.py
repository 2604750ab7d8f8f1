"""What hotset asks of a model server. `ollama.py` is the first implementation; `hotset.testing` ships a fake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request for words. `options` are Ollama's (num_ctx, temperature, num_predict ...); the very same
    reload-relevant ones as in `load`, or the server reloads the model."""

    model: str
    prompt: str
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; durations are the server's own, in wall milliseconds."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    load_ms: float = 0.0
    prompt_eval_ms: float = 0.0
    eval_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. Only the last has `done`, `done_reason` and `usage`."""

    text: str = ""
    thinking: str = ""
    done: bool = False
    done_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A row of `/api/ps`. `vram_mb` < `size_mb`: part of it runs on the CPU. `digest` names its very revision."""

    model: str
    size_mb: float
    vram_mb: float
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """`simulated`: its words mean nothing and must be marked as such wherever they are shown."""

    version: str
    simulated: bool
    models: tuple[str, ...]


class Generation(Protocol):
    """A running request. Iterate for chunks; `close` from any thread breaks it off, which frees the server's slot."""

    def __iter__(self) -> Iterator[Chunk]: ...
    def close(self) -> None: ...


class ModelServer(Protocol):
    """Errors: ModelServerUnavailable (no answer), ModelNotFound, GenerationFailed (refused or broken off)."""

    def info(self) -> ServerInfo: ...

    def resident(self) -> tuple[Loaded, ...]:
        """What is loaded now, by anyone (`/api/ps`)."""

    def load(self, model: str, options: Mapping[str, Any], *, timeout_s: float) -> None:
        """Load and keep (empty prompt, keep_alive -1); returns when the model is resident."""

    def unload(self, model: str, *, timeout_s: float) -> None:
        """Evict (keep_alive 0); returns when `/api/ps` no longer shows it."""

    def generate(self, prompt: Prompt, *, first_token_timeout_s: float, stall_timeout_s: float) -> Generation:
        """A streamed request (keep_alive as it was). Timeouts in wall seconds: to the first chunk, between chunks."""

    def close(self) -> None: ...
