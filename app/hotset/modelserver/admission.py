"""May this model be loaded now? A pure function; the GPU does what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hotset.fleet import Model
from hotset.modelserver.options import LoadOptions
from hotset.modelserver.residents import Resident, victim

Admission = Literal["exact", "ollama"]

# Ollama takes others' memory only if its estimate stays below this share of what is free (point 19).
_OLLAMA_SHARE = 0.8
_OLLAMA_MODELS_PER_GPU = 3


@dataclass(frozen=True, slots=True)
class Rules:
    """`exact`: a model fits if its size fits into what is free; too large for the GPU is an error.
    `ollama`: the 80 % rule, and what does not fit an empty GPU runs partly on the CPU.
    `max_loaded` 0: 3 with `ollama`, no limit with `exact`."""

    vram_mb: float
    admission: Admission
    max_loaded: int = 0

    @property
    def most(self) -> int | None:
        if self.max_loaded:
            return self.max_loaded
        return _OLLAMA_MODELS_PER_GPU if self.admission == "ollama" else None


@dataclass(frozen=True, slots=True)
class Use:
    resident: Resident


@dataclass(frozen=True, slots=True)
class Evict:
    resident: Resident
    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    vram_mb: float
    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    message: str


def decide(
    model: Model, options: LoadOptions, residents: Mapping[str, Resident], rules: Rules
) -> Use | Evict | Load | TooLarge:
    """The next step towards having `model` resident with `options`; asked again after each step."""
    resident = residents.get(model.name)
    if resident is not None:
        reason = resident.reload_reason(options)
        return Evict(resident, reason) if reason else Use(resident)
    if rules.admission == "exact" and model.size_mb > rules.vram_mb:
        return TooLarge(
            f"model requires more system memory ({model.size_mb / 1024:.1f} GiB) "
            f"than is available ({rules.vram_mb / 1024:.1f} GiB)"
        )
    others = list(residents.values())
    if rules.most is not None and len(others) >= rules.most:
        return Evict(victim(others), f"{rules.most} models are loaded, {model.name} is asked for")
    free = rules.vram_mb - sum(other.vram_mb for other in others)
    usable = free if rules.admission == "exact" or not others else _OLLAMA_SHARE * free
    if others and model.size_mb > usable:
        return Evict(victim(others), f"{model.name} needs {model.size_mb:g} MiB, {usable:g} may be used")
    return Load(min(model.size_mb, free), "asked for and not resident")
