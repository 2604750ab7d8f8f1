"""How surely does a memory answer a question? Pure.

Nearness of meaning alone does not say it: all that is said of somebody is near to any question about them. So what is
said of whom the question names is compared with the rest of it, and with what is said of others; and the kind of the
answer ("who", "how many", "when") with what the memory has. A logistic regression, whose weights
`hotset.lab.memory_fit` fits on sentences that the encoder's adapter was not trained on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import mul
from typing import TYPE_CHECKING

from hotset.memory.weights import fitted
from hotset.memory.words import NO_NAMES

if TYPE_CHECKING:
    from hotset.memory.candidates import Candidate, Question

_HOW_MANY = re.compile(r"\bhow (?!do |does |did |is |are |was |were |can |should |come )\w+", re.IGNORECASE)
_WHO = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)
_WHEN = re.compile(r"\bwhen\b|\b(?:what|which) (?:date|day|days|time|times|hour|hours|month|year)\b", re.IGNORECASE)

NAMES = (
    "about", "whole", "words", "kind", "number wanted and there", "number wanted", "name wanted and there",
    "name wanted", "time wanted and there", "time wanted", "assistant asked, and said it", "assistant said it",
    "others nearer", "nearest of all", "behind the best", "names lacking", "no names", "1",
)  # fmt: skip


def logits(question: Question, candidates: Sequence[Candidate], others: float) -> list[float]:
    """For each of what is said of whom the question names: the logit of being an answer. `others`: how near the best of
    the rest is."""
    weights = fitted("relevance", NAMES)
    return [sum(map(mul, weights, row)) for row in features(question, candidates, others)]


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))


def features(question: Question, candidates: Sequence[Candidate], others: float) -> list[tuple[float, ...]]:
    """A row for each candidate, in the order of `NAMES`."""
    best = max([c.about for c in candidates], default=0.0)
    many, who, when = (p.search(question.text) is not None for p in (_HOW_MANY, _WHO, _WHEN))
    sought = many or who or when
    assistant = question.asks_assistant
    words, wanted = len(question.stems) or 1, len(question.names) or 1
    nameless = float(not question.names)
    found: list[tuple[float, ...]] = []
    for one in candidates:
        number = name = time = False
        # What else it names is looked at where the question asks for such a thing.
        if sought:
            rest = one.names - question.names
            numbers = len([t for t in rest if t[0].isdigit()])
            times = len(rest & NO_NAMES)
            number, name = numbers > 0, len(rest) > numbers + times
            time = number or times > 0
        said = one.said_by == "assistant"
        found.append(
            (
                one.about,
                one.whole,
                len(question.stems & one.stems) / words,
                0.0 if question.kinds.isdisjoint(one.kinds) else 1.0,
                1.0 if many and number else 0.0,
                1.0 if many and not number else 0.0,
                1.0 if who and name else 0.0,
                1.0 if who and not name else 0.0,
                1.0 if when and time else 0.0,
                1.0 if when and not time else 0.0,
                1.0 if assistant and said else 0.0,
                1.0 if said and not assistant else 0.0,
                others - one.about if others > one.about else 0.0,
                others if others > one.about else one.about,
                one.about - best,
                len(question.names - one.names) / wanted,
                nameless,
                1.0,
            )
        )
    return found
