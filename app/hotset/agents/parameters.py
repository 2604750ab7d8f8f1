"""Generation parameters of a run: task type × tier, held within the tier's band; then the agent's; then the job's.

The figures are the product's R4. It names them by model (tinyllama, qwen, deepseek): the default models of the tiers
light, balanced and complex. A tier that users made is treated as `balanced`, without a band.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotset.agents.agent import MOST_TOKENS, Agent
from hotset.agents.hints import near_or_all
from hotset.errors import InvalidJob
from hotset.fleet import Model
from hotset.jobs.durations import LONGEST_S

REPEAT_PENALTY = 1.1
#: Task type -> temperature, top_p.
BASE = {"code": (0.3, 0.95), "creative": (0.9, 0.95), "analysis": (0.5, 0.9), "default": (0.7, 0.9)}


@dataclass(frozen=True, slots=True)
class TierParameters:
    """`factor` multiplies the base temperature, `band` then holds it; `max_tokens` is how much a run may say."""

    factor: float = 1.0
    max_tokens: int = 2048
    band: tuple[float, float] | None = None

    def temperature(self, base: float) -> float:
        low, high = self.band or (0.0, 2.0)
        return round(min(max(base * self.factor, low), high), 4)


TIERS = {
    "light": TierParameters(0.8, 512, (0.3, 0.5)),
    "balanced": TierParameters(1.0, 2048, (0.5, 0.7)),
    "complex": TierParameters(1.1, 4096, (0.7, 0.9)),
}


@dataclass(frozen=True, slots=True)
class _Range:
    """What a number may be, both ends included unless `above`: then it must exceed `low`."""

    low: float
    high: float
    whole: bool = False
    above: bool = False

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} above {self.low:g}" if self.above else f"{kind} from {self.low:.10g} to {self.high:.10g}"


_RANGES = {
    "temperature": _Range(0, 2),
    "top_p": _Range(0, 1),
    "max_tokens": _Range(1, MOST_TOKENS, whole=True),
    "repeat_penalty": _Range(0, 2, above=True),
    "seed": _Range(0, 2**32 - 1, whole=True),
    # Service time in model seconds on a simulated GPU; real servers ignore it.
    "hotset_run_s": _Range(0, LONGEST_S, above=True),
}
OVERRIDES = (*_RANGES, "stop", "hotset_fault")
_MOST_STOPS = 16
_FAULT = re.compile(r"[a-z_]{1,32}")
_LONGEST_STOP = 200
_ELSEWHERE = {
    "num_predict": "Its name here is 'max_tokens'.",
    "max_completion_tokens": "Its name here is 'max_tokens'.",
    "num_ctx": "The fleet file fixes it (a model's `context`): another value would make the server reload the model.",
    "system": "It belongs to the agent: add your own in the agents' file.",
    "model": "The agent's tier chooses it: use an agent of another tier.",
}


def generation_options(agent: Agent, model: Model, tier: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's `options` for a run of `agent` on `model` in `tier` (not always its own: jobs may be escalated).

    `num_predict` never exceeds the model's context. Raises InvalidJob as `check_overrides` does.
    """
    own = check_overrides(overrides)
    shape = TIERS.get(tier, TierParameters())
    temperature, top_p = BASE[agent.task_type]
    said: dict[str, Any] = {
        "temperature": shape.temperature(temperature) if agent.temperature is None else agent.temperature,
        "top_p": top_p,
        "repeat_penalty": REPEAT_PENALTY,
        "max_tokens": agent.max_tokens or shape.max_tokens,
        **own,
    }
    said["num_predict"] = min(said.pop("max_tokens"), model.context)
    return said | load_options(model)


def load_options(model: Model) -> dict[str, Any]:
    """The options that a model is loaded with. Preloads and runs send these very ones, or Ollama reloads the model."""
    return {"num_ctx": model.context}


def check_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a job, checked: names in OVERRIDES, numbers in range, `stop` as a list. None means not given.

    Raises InvalidJob, with the nearest name or the range.
    """
    if not isinstance(overrides, Mapping):
        raise InvalidJob(f"The options are a {type(overrides).__name__}.", remedy="Give names with values.")
    checked: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in OVERRIDES:
            raise InvalidJob(
                f"There is no option {name!r}.", remedy=_ELSEWHERE.get(name) or near_or_all(str(name), OVERRIDES)
            )
        if value is None:
            continue
        if name == "stop":
            checked[name] = _stops(value)
        elif name == "hotset_fault":
            # What a simulated GPU shall do wrong, to rehearse it; real servers ignore it.
            if not isinstance(value, str) or not _FAULT.fullmatch(value):
                raise InvalidJob(
                    f"Option {name}={_short(value)} is no fault's name.", remedy="See docs/model-server.md."
                )
            checked[name] = value
        elif _RANGES[name].holds(value):
            checked[name] = value
        else:
            raise InvalidJob(f"Option {name}={_short(value)} is out of range.", remedy=f"Give {_RANGES[name]}.")
    return checked


def _stops(value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if (
        not isinstance(texts, list | tuple)
        or not 1 <= len(texts) <= _MOST_STOPS
        or not all(isinstance(text, str) and 1 <= len(text) <= _LONGEST_STOP and _storable(text) for text in texts)
    ):
        raise InvalidJob(
            f"Option stop={_short(value)} is not a text or a list of texts.",
            remedy=f"Give 1 to {_MOST_STOPS} texts of 1 to {_LONGEST_STOP} characters, without NUL.",
        )
    return list(texts)


def _storable(text: str) -> bool:
    """Postgres stores neither NUL nor lone surrogates."""
    return not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
