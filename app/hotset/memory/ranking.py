"""From candidates to answers. Pure: the same candidates give the same order, wherever their texts lie.

What is said of whom the question names goes before everything else, by how surely it answers (`relevance`). What took
the place of a memory, or probably did (`renewal`), inherits its place and goes before it; of what fits about as well,
the later goes first. Where the question leads over another name ("the project that Tom works on"), what is said of
that goes first, with what leads there (`detours`).

Summaries are ranked apart and come after all that is sure or said of whom the question names: of a full list one of
them takes the last place at most, and only from what is neither.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hotset.memory.candidates import Candidate, Question
from hotset.memory.detours import detours, probabilities
from hotset.memory.relevance import logits, probability

#: So sure must the best be: what was never said is not known.
THRESHOLD = 0.25
#: What was true once, behind what is true; and what is said of others, behind what is said of whom the question names.
_PAST, _OTHERS = 6.0, 20.0
#: What probably took the place of another inherits its place unless it fits so much worse (in logits) itself.
_MUCH_WORSE = 9.0
#: So near in logits, the later of two statements goes first; looked for among the first. And if they are about one
#: property, as far as their vectors tell (from this cosine on), not so near.
_AS_WELL, _POSSIBLY_ONE = 1.0, 5
_AS_WELL_OF_ONE, _ONE_PROPERTY = 8.0, 0.3
#: So probably a question leads over another name that what is said there goes first, and is an answer however little
#: is said of the question's own names; less probably, but from the second on, it gets the last places. The second is
#: low: a needless detour costs two places of five that seldom matter, a lacking one the answer.
_LED, _POSSIBLY_LED = 0.5, 0.03
#: Of five places what goes first gets so many: a detour, and direct answers before what is only possibly one.
_DETOUR, _DIRECT = 4, 3


@dataclass(slots=True, eq=False)
class _Scored:
    """`fits`: the logit that it answers, with what it inherited; `led`: how probably the question leads to it; `after`:
    what took its place."""

    one: Candidate
    fits: float
    named: bool
    led: float = 0.0
    past: bool = False
    after: _Scored | None = None


def rank(
    question: Question, candidates: Sequence[Candidate], k: int, threshold: float = THRESHOLD
) -> list[tuple[UUID, float]]:
    """The best k with how surely they answer, or nothing when none is sure enough."""
    others = [c for c in candidates if not c.summary]
    found, kept = _rank(question, others, k, threshold)
    # Whoever takes anything gets summaries, too, but none in the place of something.
    sure = threshold or (THRESHOLD if len(found) >= k else 0.0)
    made = _summaries(question, others, [c for c in candidates if c.summary], sure)
    return _joined(found, kept, made, k)


def _rank(
    question: Question, candidates: Sequence[Candidate], k: int, threshold: float
) -> tuple[list[tuple[UUID, float]], set[UUID]]:
    """Everything but summaries; and those of the best that no summary may go before: what is sure, what is said of whom
    the question names and still true, and what stands there for what leads to it."""
    scored = _scored(question, candidates)
    best = max([s.fits for s in scored if s.named], default=-math.inf)
    led, there = _led(question, scored)
    _inherit(scored, question.when)
    order = sorted(scored, key=lambda s: (-s.fits, -s.one.valid_from.timestamp(), s.one.id.int))
    by_themselves = {s.one.id for s in order[:k]}
    order = _later_first(question, order)
    if threshold > 0 and led < _LED and probability(best) < threshold:
        return [], set()
    if led >= _LED:
        places = math.ceil(k * _DETOUR / 5)
        order = _first([*there[:places], *order[: k - places], *there], order)
    elif led >= _POSSIBLY_LED:
        order = _first([*order[: math.ceil(k * _DIRECT / 5)], *there], order)
    found = [(s.one.id, round(max(s.led, probability(s.fits + (0.0 if s.named else _OTHERS))), 4)) for s in order[:k]]
    sure = {i for i, share in found if share >= (threshold or THRESHOLD)}
    own = {s.one.id for s in order[:k] if s.named and not s.past}
    return found, sure | own | ({i for i, _ in found} - by_themselves)


def _summaries(
    question: Question, others: Sequence[Candidate], summaries: Sequence[Candidate], sure: float
) -> list[tuple[UUID, float]]:
    """Those that are sure answers, the best first: they have most of the question's names, and fit by what they say."""
    named = [c for c in summaries if _is_named(question, c)]
    if not named:
        return []
    rest = max((c.about for c in others if not _is_named(question, c)), default=0.0)
    fits = zip(map(probability, logits(question, named, rest)), named, strict=True)
    best = sorted(fits, key=lambda one: (-one[0], -one[1].valid_from.timestamp(), str(one[1].id)))
    return [(c.id, round(share, 4)) for share, c in best if share >= sure]


def _joined(
    found: Sequence[tuple[UUID, float]], kept: Collection[UUID], summaries: Sequence[tuple[UUID, float]], k: int
) -> list[tuple[UUID, float]]:
    """What is kept, then summaries, then the rest, of which nothing is lost but the last."""
    first = max((i for i, (one, _) in enumerate(found, 1) if one in kept), default=0)
    room = k - len(found)
    taken = summaries[: max(room, 1 if len(found) > first else 0)]
    return [*found[:first], *taken, *found[first:]][:k]


def _scored(question: Question, candidates: Sequence[Candidate]) -> list[_Scored]:
    named: list[Candidate] = []
    rest: list[Candidate] = []
    for c in candidates:
        (named if _is_named(question, c) else rest).append(c)
    others = max([c.about for c in rest], default=0.0)
    found = [_Scored(c, fits, True) for c, fits in zip(named, logits(question, named, others), strict=True)]
    for c, fits in zip(rest, logits(question, rest, others), strict=True):
        found.append(_Scored(c, fits - _OTHERS, False))
    if any(c.superseded_by is not None for c in candidates):
        by_id = {s.one.id: s for s in found}
        for s in found:
            s.after = by_id.get(s.one.superseded_by) if s.one.superseded_by is not None else None
    return found


def _is_named(question: Question, one: Candidate) -> bool:
    return 2 * len(question.names & one.names) >= len(question.names)


def _inherit(scored: Collection[_Scored], when: datetime) -> None:
    """Oldest first, so that the last of a chain inherits from all before it."""
    for old in sorted(scored, key=lambda s: s.one.valid_from):
        old.past = _is_past(old.one, when)
        new = old.after
        if new is None or new.one.valid_from > when or new.one.valid_from < old.one.valid_from:
            continue
        if old.past or new.fits >= old.fits - _MUCH_WORSE:
            new.fits = max(new.fits, old.fits + 0.001)
    for one in scored:
        if one.past:
            one.fits -= _PAST


def _later_first(question: Question, order: list[_Scored]) -> list[_Scored]:
    """Of two statements that fit about as well, or are of one property, the later stands first: it may have changed
    the earlier in words that nothing understood."""
    order = list(order)
    for i in range(1, min(len(order), _POSSIBLY_ONE)):
        j = i
        while j and _may_renew(question, order[j], order[j - 1]):
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    return order


def _may_renew(question: Question, new: _Scored, old: _Scored) -> bool:
    if not (new.named and old.named and not new.past and new.one.valid_from > old.one.valid_from):
        return False
    # Where the question names nobody, a word of it that both have says that they are about one thing.
    if not question.names and not question.stems & new.one.stems & old.one.stems:
        return False
    behind = old.fits - new.fits
    return behind <= _AS_WELL or (behind <= _AS_WELL_OF_ONE and _of_one_property(new.one, old.one))


def _of_one_property(a: Candidate, b: Candidate) -> bool:
    return a.vector is not None and b.vector is not None and float(a.vector.dot(b.vector)) >= _ONE_PROPERTY


def _led(question: Question, scored: Collection[_Scored]) -> tuple[float, list[_Scored]]:
    """How probably the question leads over another name; and what is said there, the most probable first, with the
    bridge to it behind the first."""
    found = detours(question, [s.one for s in scored])
    if not found:
        return 0.0, []
    chances = probabilities(question, found, {s.one: s.fits for s in scored if s.named})
    by_one = {s.one: s for s in scored}
    bridges: dict[Candidate, float] = defaultdict(float)
    there: dict[_Scored, None] = {}
    for one, chance in zip(found, chances, strict=True):
        bridges[one.bridge] += chance
        target = by_one[one.target]
        there[target] = None
        target.led += chance
    most = max(bridges.values())
    bridge = by_one[max([c for c in bridges if bridges[c] == most], key=lambda c: str(c.id))]
    bridge.led = max(bridge.led, most)
    targets = _later_there(list(there), question.when)
    return sum(chances), [targets[0], bridge, *targets[1:]]


def _later_there(there: Sequence[_Scored], when: datetime) -> list[_Scored]:
    """What took the place of a target, or probably did, goes before it; and what is not true any more, last."""
    all_there = dict.fromkeys(there)
    for old in sorted(there, key=lambda s: s.one.valid_from):
        new = _newest(old, when)
        if new is not old:
            all_there[new] = None
            new.led = max(new.led, old.led + 1e-6)
    return sorted(all_there, key=lambda s: (_is_past(s.one, when), -s.led, -s.one.valid_from.timestamp(), s.one.id.int))


def _is_past(one: Candidate, when: datetime) -> bool:
    return one.valid_to is not None and one.valid_to <= when


def _newest(one: _Scored, when: datetime) -> _Scored:
    if one.after is None:
        return one
    seen = {one}
    while (new := one.after) is not None and new not in seen and new.one.valid_from <= when:
        one = new
        seen.add(new)
    return one


def _first(these: Sequence[_Scored], order: Sequence[_Scored]) -> list[_Scored]:
    ahead = dict.fromkeys(these)
    return [*ahead, *(s for s in order if s not in ahead)]
