"""Where a question leads over another name ("When does the project that Tom works on end?"), which two memories answer
it: the bridge, which says what the question's name has to do with the other ("Tom works on Zephyr"), and the target,
which is said of the other ("Zephyr ends in May")? Pure.

Each bridge with each target is compared with the question; at most one pair is wanted, or none, since what is said of
the question's own names answers it: a conditional logit (McFadden 1974), whose weights `hotset.lab.memory_fit` fits on
sentences that the encoder's adapter was not trained on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from uuid import UUID

from hotset.memory.candidates import Candidate, Question
from hotset.memory.weights import fitted
from hotset.memory.words import NO_NAMES, stem

#: At least so much of the other name has to stand in the target; of other words, where the bridge has no other name.
_NAME, _WORDS = 0.3, 0.6
#: Logits beyond these say no more.
_MOST = 8.0

#: What is compared. The last three are of the question and the bridge alone: they tell detours from none.
NAMES = (
    "about", "whole", "kind", "behind the best", "words", "share of the name", "by words", "one property",
    "bridge behind the best", "words of the bridge", "words of the bridge alone", "bridge fits", "best that is direct",
)  # fmt: skip
#: Utilities of no detour, and of it where a clause leads on.
NOTHING = ("nothing", "nothing*leads on")


@dataclass(frozen=True, slots=True)
class Detour:
    """`share`: how much of what the bridge names beside the question's names stands in the target."""

    bridge: Candidate
    target: Candidate
    share: float
    by_words: bool


def probabilities(question: Question, found: Sequence[Detour], direct: Mapping[UUID, float]) -> list[float]:
    """For each detour how probable it is that it is wanted; together at most 1. `direct`: of what is said of the
    question's names, the logit that it answers."""
    weights = fitted("detours", (*NAMES, *NOTHING))
    utility = [sum(map(mul, weights, row)) for row in features(question, found, direct)]
    nothing = weights[-2] + weights[-1] * question.leads_on
    most = max([nothing, *utility])
    shares = [math.exp(u - most) for u in utility]
    total = sum(shares) + math.exp(nothing - most)
    return [share / total for share in shares]


def detours(question: Question, candidates: Collection[Candidate]) -> list[Detour]:
    """Bridges name all that the question names; targets name less of it, and something that the bridge names."""
    if not question.names:
        return []
    apart = [c for c in candidates if not question.names <= c.names]
    by_name, by_stem = _places(c.names for c in apart), _places(c.stems for c in apart)
    found = []
    for bridge in candidates:
        if not question.names <= bridge.names:
            continue
        over = {t for t in bridge.names - question.names - NO_NAMES if stem(t) not in question.stems}
        names = {t for t in over if not t[0].isdigit()}
        words = bridge.stems - question.stems - {stem(t) for t in bridge.names}
        there = (by_name[n] for n in names) if names else (by_stem[w] for w in words)
        for place in sorted(set().union(*there)):
            target = apart[place]
            share = len(over & target.names) / len(over) if names else len(words & target.stems) / len(words)
            if share >= (_NAME if names else _WORDS):
                found.append(Detour(bridge, target, share, not names))
    return found


def _places(words: Iterable[Collection[str]]) -> Mapping[str, list[int]]:
    """Word -> where it stands."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, here in enumerate(words):
        for word in here:
            places[word].append(place)
    return places


def features(question: Question, found: Sequence[Detour], direct: Mapping[UUID, float]) -> list[tuple[float, ...]]:
    """A row for each detour, in the order of `NAMES`."""
    best_about = max((d.target.about for d in found), default=0.0)
    best_bridge = max((d.bridge.whole for d in found), default=0.0)
    best = max(direct.values(), default=-_MOST)
    asked = len(question.stems) or 1
    rows: list[tuple[float, ...]] = []
    for one in found:
        bridge, target = one.bridge, one.target
        there, here = question.stems & target.stems, question.stems & bridge.stems
        rows.append(
            (
                target.about,
                target.whole,
                float(not question.kinds.isdisjoint(target.kinds)),
                target.about - best_about,
                len(here | there) / asked,
                one.share,
                float(one.by_words),
                _alike(bridge, target),
                bridge.whole - best_bridge,
                len(here) / asked,
                len(here - there) / asked,
                _scaled(direct.get(bridge.id, -_MOST)),
                _scaled(best),
            )
        )
    return rows


def _alike(a: Candidate, b: Candidate) -> float:
    return 0.0 if a.vector is None or b.vector is None else float(a.vector @ b.vector)


def _scaled(logit: float) -> float:
    return max(-_MOST, min(_MOST, logit)) / 4
