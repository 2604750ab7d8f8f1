"""How long a request runs and how many tokens it gives: drawn once, from its prompt, so that it can be repeated."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hotset.fleet import Fleet, Model

VARIATION = 0.6  # standard deviation ÷ mean of a run
CHARACTERS_PER_TOKEN = 4
_PREFILL = 25.0  # prompts are read this many times as fast as answers are written
# Half of the layers on the CPU: 2.5 times as slow (7B on a 4 GB card: 12–18 tokens/s for 30–40).
_CPU_PENALTY = 3.0
_FALLBACK_RUN_S = 5.0  # mean run of a model that no queue of the fleet uses


@dataclass(frozen=True, slots=True)
class Run:
    """Model seconds on this GPU, its speed included."""

    prompt_tokens: int
    output_tokens: int
    prompt_eval_s: float
    eval_s: float
    done_reason: Literal["stop", "length"]


def tokens_in(text: str) -> int:
    return max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN)) if text else 0


def mean_run_s(fleet: Fleet, model: str) -> float:
    """The run estimate of the first queue that uses the model, at speed 1."""
    return next((queue.run_s for queue in fleet.queues.values() if queue.model == model), _FALLBACK_RUN_S)


def reading_s(model: Model, tokens: int) -> float:
    """Model seconds to evaluate a prompt at speed 1, all on the GPU."""
    return tokens / (_PREFILL * model.tokens_per_s)


def slowness(speed: float, cpu_share: float) -> float:
    """What times at speed 1 are multiplied by; `cpu_share` is the part of the layers on the CPU, 0 to 1."""
    return (1.0 + _CPU_PENALTY * cpu_share) / speed


def plan(
    model: Model,
    text: str,
    options: Mapping[str, Any],
    *,
    mean_s: float,
    context: int,
    speed: float,
    cpu_share: float,
    rng: random.Random,
) -> Run:
    """Log-normal with mean `mean_s` at speed 1, prompt included, capped by num_predict (-1: 10 × the context).

    `hotset_run_s` fixes the time instead (÷ speed, like every run); num_predict then caps the words only.
    """
    prompt_tokens = tokens_in(text)
    factor = slowness(speed, cpu_share)
    prompt_eval_s = reading_s(model, prompt_tokens)
    fixed_s = options.get("hotset_run_s")
    total_s = _log_normal(mean_s, rng) if fixed_s is None else float(fixed_s)
    if fixed_s is not None:
        prompt_eval_s = min(prompt_eval_s, total_s)
    drawn = max(1, round((total_s - prompt_eval_s) * model.tokens_per_s))
    most = int(options.get("num_predict") or -1)
    most = most if most > 0 else 10 * context
    tokens = min(drawn, most)
    eval_s = total_s - prompt_eval_s if fixed_s is not None else tokens / model.tokens_per_s
    return Run(
        prompt_tokens=prompt_tokens,
        output_tokens=tokens,
        prompt_eval_s=prompt_eval_s * factor,
        eval_s=eval_s * factor,
        done_reason="length" if drawn > most else "stop",
    )


def _log_normal(mean: float, rng: random.Random) -> float:
    variance = math.log(1.0 + VARIATION**2)
    return math.exp(rng.gauss(math.log(mean) - variance / 2, math.sqrt(variance))) if mean > 0 else 0.0
