"""What is learned, and what it is taken for: an estimate is what was observed, drawn towards a first guess (a fleet
file's figure, or what other GPUs or other agents of the queue saw) that counts as a few observations.

The drawing is done in logarithms, since a guess is wrong by a factor: `exp((k·ln guess + n·ln mean) ÷ (k + n))`, the
posterior mean of a normal model with known variances (A. Gelman and others, "Bayesian Data Analysis", ch. 2.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Literal, NamedTuple

from hotset.learning.sketch import Sketch

#: load, drain: seconds, by model. run: seconds, by queue and agent. tokens: those of one answer, by queue and agent.
#: rate: tokens a second of one request, by model. size: MiB of VRAM, by model. Seconds are model seconds at speed 1.
Kind = Literal["load", "drain", "run", "tokens", "rate", "size"]


class Key(NamedTuple):
    """`name`: a model or a queue, by kind. `agent` is empty where agents are not told apart."""

    kind: Kind
    name: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Sort:
    """`memory`: how many of the newest figures count. `worth`: how many the first guess counts for."""

    memory: int
    worth: float


#: Loads hardly scatter and a fleet file may be far off, so the guess is forgotten at once; runs scatter.
KINDS: Mapping[Kind, Sort] = {
    "load": Sort(memory=20, worth=0.25),
    "drain": Sort(memory=50, worth=1.0),
    "run": Sort(memory=300, worth=1.0),
    "tokens": Sort(memory=300, worth=1.0),
    "rate": Sort(memory=100, worth=0.25),
    "size": Sort(memory=5, worth=0.0),
}
#: What other GPUs saw counts for so many of one's own figures: their hardware may differ by more than their speed.
OTHERS_WORTH = 3.0
#: What all agents of a queue need counts for so many runs of one of them.
QUEUE_WORTH = 2.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` is what to reckon with; `guess` the figure before anything was seen; `mean` and `p50` of `count` seen."""

    value: float
    guess: float
    mean: float | None
    p50: float | None
    count: int


def estimate(seen: Sketch, guess: float, worth: float) -> float:
    """The mean of what was seen, drawn towards a guess (above zero) that counts as `worth` figures."""
    mean = seen.mean()
    if mean is None:
        return guess
    if guess <= 0 or worth <= 0:
        return mean
    return exp((worth * log(guess) + seen.weight * log(mean)) / (worth + seen.weight))


def figures(seen: Sketch, guess: float, worth: float) -> Estimate:
    """As `estimate`, with what it is made of."""
    return Estimate(estimate(seen, guess, worth), guess, seen.mean(), seen.quantile(0.5), seen.count)
