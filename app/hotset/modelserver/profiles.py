"""How a model behaves here: what a fleet file tells of it, and what only a simulation needs to know."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from hotset.errors import UsageError, did_you_mean
from hotset.fleet import Fleet, Model
from hotset.models.names import canonical

VARIATION = 0.6  # standard deviation ÷ mean of a run, or of an answer
LOAD_MB_PER_S = 500.0  # of a model whose load time nobody gave: what a disk with NVMe and a small card do
PREFILL = 25.0  # prompts are read this many times as fast as answers are written
FALLBACK_RUN_S = 5.0  # mean run of a model that no queue of the fleet uses
_TRAINED_CONTEXT = 32768  # of a model whose profile does not tell: no less than most have

CAPABILITIES = ("completion", "tools", "insert", "vision", "thinking", "embedding")


class Lengths(Protocol):
    """How many tokens answers have."""

    def draw(self, rng: random.Random, model: Model, prompt_eval_s: float) -> int:
        """At least 1. `prompt_eval_s` is what the prompt takes at speed 1."""


@dataclass(frozen=True, slots=True)
class OfRuns:
    """Log-normal run times with this mean in model seconds, prompt included, as the queue of a fleet estimates them."""

    mean_s: float
    cv: float = VARIATION

    def draw(self, rng: random.Random, model: Model, prompt_eval_s: float) -> int:
        return max(1, round((_log_normal(self.mean_s, self.cv, rng) - prompt_eval_s) * model.tokens_per_s))


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Tokens with this mean and coefficient of variation. 0: always the mean."""

    mean: float
    cv: float = VARIATION

    def draw(self, rng: random.Random, model: Model, prompt_eval_s: float) -> int:
        return max(1, round(_log_normal(self.mean, self.cv, rng)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One of these counts of tokens, each as likely: lengths that were measured."""

    tokens: tuple[int, ...]

    def draw(self, rng: random.Random, model: Model, prompt_eval_s: float) -> int:
        return rng.choice(self.tokens)


@dataclass(frozen=True, slots=True)
class Profile:
    """Times are model seconds at speed 1 with all layers on the GPU.

    `first_token_s` comes before each answer, beside the reading of the prompt. `unload_s` passes after an eviction
    until the VRAM is back. `trained_context` is what num_ctx is clipped to.
    """

    model: Model
    answers: Lengths
    prompt_tokens_per_s: float
    capabilities: tuple[str, ...]
    first_token_s: float = 0.0
    unload_s: float = 0.0
    trained_context: int = _TRAINED_CONTEXT

    @property
    def name(self) -> str:
        return self.model.name

    def can(self, capability: str) -> bool:
        return capability in self.capabilities

    def reading_s(self, tokens: int) -> float:
        """What the evaluation of a prompt takes."""
        return tokens / self.prompt_tokens_per_s


def profile_of(model: Model, answers: Lengths | None = None) -> Profile:
    """The profile of a model of which nothing else is known; what it can is guessed from its name."""
    return Profile(
        model,
        answers or OfRuns(FALLBACK_RUN_S),
        PREFILL * model.tokens_per_s,
        _guess(model.name),
        trained_context=max(_TRAINED_CONTEXT, model.context),
    )


def profiles_of(fleet: Fleet) -> dict[str, Profile]:
    """Every model of the fleet by its canonical name; runs take what the first queue that uses the model says."""
    runs = {queue.model: queue.run_s for queue in reversed(list(fleet.queues.values()))}
    return {
        canonical(model.name): profile_of(model, OfRuns(runs.get(model.name, FALLBACK_RUN_S)))
        for model in fleet.models.values()
    }


_QUICK = {"size": "MB", "load": "s", "rate": "", "context": "", "answer": ""}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z/]*)", re.IGNORECASE)
_UNITS = {
    "size": {"": 1.0, "mb": 1.0, "mib": 1.0, "gb": 1024.0, "gib": 1024.0},
    "load": {"": 1.0, "s": 1.0, "ms": 0.001},
    "rate": {"": 1.0, "/s": 1.0},
    "context": {"": 1.0, "k": 1024.0},
    "answer": {"": 1.0},
}


def quick_profile(text: str) -> Profile:
    """A model on one line: `NAME=SIZE[,load=SECONDS][,rate=TOKENS/S][,context=TOKENS][,answer=MEAN TOKENS]`.

    "llama3.2=2000MB,load=3s,rate=60". Without a load time it is the size ÷ 500 MB/s. Raises UsageError.
    """
    name, _, rest = text.partition("=")
    if not name.strip() or not rest.strip():
        raise UsageError(f"{text!r} is no model.", remedy="Write NAME=SIZE, such as llama3.2=2000MB,load=3s,rate=60.")
    said: dict[str, float] = {}
    for part in f"size={rest}".split(","):
        key, _, value = part.strip().partition("=")
        if key not in _QUICK:
            hint = did_you_mean(key, _QUICK, "")
            fix = hint if hint.startswith("Did") else "After the size may follow load, rate, context and answer."
            raise UsageError(f"A model has no {key!r} ({text!r}).", remedy=fix)
        if key in said:
            raise UsageError(f"{key!r} is given twice in {text!r}.", remedy="Keep one of the two.")
        said[key] = _quick_number(key, value, text)
    model = Model(name.strip(), said["size"], said.get("load", said["size"] / LOAD_MB_PER_S))
    if "rate" in said:
        model = replace(model, tokens_per_s=said["rate"])
    if "context" in said:
        model = replace(model, context=max(1, int(said["context"])))
    return profile_of(model, LogNormal(said["answer"]) if "answer" in said else None)


def _quick_number(key: str, value: str, text: str) -> float:
    number = _NUMBER.fullmatch(value.strip())
    factor = _UNITS[key].get(number[2].lower()) if number else None
    if number is None or factor is None or not 0 < float(number[1]) < 1e9:
        example = {"size": "2000MB", "load": "load=3s", "rate": "rate=60", "context": "context=8192"}
        raise UsageError(
            f"{value!r} is no {key} ({text!r}).", remedy=f"Write {example.get(key, 'answer=200')}, above zero."
        )
    return float(number[1]) * factor


def join(fleet: Fleet, profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """The fleet's profiles, with these in the place of theirs or beside them."""
    return profiles_of(fleet) | {canonical(profile.name): profile for profile in profiles.values()}


def _guess(name: str) -> tuple[str, ...]:
    if any(word in name for word in ("embed", "minilm", "bge-")):
        return ("embedding",)
    return ("completion", "tools", "insert", *(("thinking",) if "deepseek-r1" in name else ()))


def _log_normal(mean: float, cv: float, rng: random.Random) -> float:
    variance = math.log(1.0 + cv**2)
    return math.exp(rng.gauss(math.log(mean) - variance / 2, math.sqrt(variance))) if mean > 0 else 0.0
