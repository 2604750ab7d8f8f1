"""How long a request runs and how many tokens it gives: drawn once, from its prompt, so that it can be repeated."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hotset.modelserver.profiles import Profile

CHARACTERS_PER_TOKEN = 4
# Half of the layers on the CPU: 2.5 times as slow (7B on a 4 GB card: 12–18 tokens/s for 30–40).
_CPU_PENALTY = 3.0
_CONTEXTS = 10  # however long an answer may be: Ollama's own limit, in contexts


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


def slowness(speed: float, cpu_share: float) -> float:
    """What times at speed 1 are multiplied by; `cpu_share` is the part of the layers on the CPU, 0 to 1."""
    return (1.0 + _CPU_PENALTY * cpu_share) / speed


def plan(
    profile: Profile,
    text: str,
    options: Mapping[str, Any],
    *,
    context: int,
    speed: float,
    cpu_share: float,
    rng: random.Random,
) -> Run:
    """As many tokens as the profile draws, capped by num_predict (-1, or too many: 10 × the context).

    `hotset_run_s` fixes the time instead, prompt included (÷ speed, as every run); num_predict then caps the
    words only.
    """
    rate = profile.model.tokens_per_s
    prompt_tokens = tokens_in(text)
    factor = slowness(speed, cpu_share)
    prompt_eval_s = profile.first_token_s + profile.reading_s(prompt_tokens)
    fixed_s = options.get("hotset_run_s")
    if fixed_s is None:
        drawn = profile.answers.draw(rng, profile.model, prompt_eval_s)
    else:
        prompt_eval_s = min(prompt_eval_s, float(fixed_s))
        drawn = max(1, round((fixed_s - prompt_eval_s) * rate))
    most = int(options.get("num_predict") or -1)
    most = most if 0 < most <= _CONTEXTS * context else _CONTEXTS * context
    tokens = min(drawn, most)
    eval_s = tokens / rate if fixed_s is None else fixed_s - prompt_eval_s
    return Run(
        prompt_tokens=prompt_tokens,
        output_tokens=tokens,
        prompt_eval_s=prompt_eval_s * factor,
        eval_s=eval_s * factor,
        done_reason="length" if drawn > most else "stop",
    )
