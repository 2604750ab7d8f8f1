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
from operator import mul
from typing import NamedTuple

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


class Detour(NamedTuple):
    """`share`: how much of what the bridge names beside the question's names stands in the target."""

    bridge: Candidate
    target: Candidate
    share: float
    by_words: bool


def probabilities(question: Question, found: Sequence[Detour], direct: Mapping[Candidate, float]) -> list[float]:
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
    by_name: Mapping[str, list[int]] | None = None
    by_stem: tuple[Mapping[str, int], list[int]] | None = None
    found = []
    for bridge in candidates:
        if not question.names <= bridge.names:
            continue
        further = bridge.names - question.names
        over = {t for t in further - NO_NAMES if stem(t) not in question.stems} if further else further
        if names := {t for t in over if not t[0].isdigit()}:
            by_name = by_name or _places(c.names for c in apart)
            for place in sorted(set().union(*[by_name[n] for n in names if n in by_name])):
                share = len(over & apart[place].names) / len(over)
                if share >= _NAME:
                    found.append(Detour(bridge, apart[place], share, by_words=False))
        elif words := bridge.stems - question.stems - {stem(t) for t in bridge.names}:
            bits, of_place = by_stem = by_stem or _bits([c.stems for c in apart])
            wanted, count = sum([bits[w] for w in words if w in bits]), len(words)
            # Where too few of them stand in all the others together, none of these has enough.
            if wanted.bit_count() / count >= _WORDS:
                found += [Detour(bridge, apart[place], share, by_words=True) for place, has in enumerate(of_place)
                          if (share := (wanted & has).bit_count() / count) >= _WORDS]  # fmt: skip
    return found


def _places(words: Iterable[Collection[str]]) -> Mapping[str, list[int]]:
    """Word -> where it stands."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, here in enumerate(words):
        for word in here:
            places[word].append(place)
    return dict(places)


def _bits(sets: Sequence[Collection[str]]) -> tuple[Mapping[str, int], list[int]]:
    """A bit for each word, and the sets as sums of these: what two have in common is counted in no time."""
    bits: dict[str, int] = {}
    sums = []
    for words in sets:
        for word in words:
            if word not in bits:
                bits[word] = 1 << len(bits)
        sums.append(sum([bits[word] for word in words]))
    return bits, sums


def features(question: Question, found: Sequence[Detour], direct: Mapping[Candidate, float]) -> list[tuple[float, ...]]:
    """A row for each detour, in the order of `NAMES`."""
    best_about = max([d.target.about for d in found], default=0.0)
    best_bridge = max([d.bridge.whole for d in found], default=0.0)
    best = _scaled(max(direct.values(), default=-_MOST))
    asked = len(question.stems) or 1
    # Of some forty pairs most share a target or a bridge.
    of_target: dict[Candidate, tuple[frozenset[str], float]] = {}
    of_bridge: dict[Candidate, tuple[frozenset[str], float, float]] = {}
    rows: list[tuple[float, ...]] = []
    for bridge, target, share, by_words in found:
        if target not in of_target:
            fits = 0.0 if question.kinds.isdisjoint(target.kinds) else 1.0
            of_target[target] = question.stems & target.stems, fits
        if bridge not in of_bridge:
            here = question.stems & bridge.stems
            of_bridge[bridge] = here, len(here) / asked, _scaled(direct.get(bridge, -_MOST))
        there, kind = of_target[target]
        here, words, fits = of_bridge[bridge]
        rows.append(
            (
                target.about,
                target.whole,
                kind,
                target.about - best_about,
                len(here | there) / asked,
                share,
                1.0 if by_words else 0.0,
                _alike(bridge, target),
                bridge.whole - best_bridge,
                words,
                len(here - there) / asked,
                fits,
                best,
            )
        )
    return rows


def _alike(a: Candidate, b: Candidate) -> float:
    return 0.0 if a.vector is None or b.vector is None else float(a.vector.dot(b.vector))


def _scaled(logit: float) -> float:
    return max(-_MOST, min(_MOST, logit)) / 4
