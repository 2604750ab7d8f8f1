"""From candidates to answers. Pure: the same candidates give the same order, wherever their texts lie.

What is said of whom the question names goes before everything else, by how surely it answers (`relevance`). What took
the place of a memory, or probably did (`renewal`), inherits its place and goes before it; of what fits about as well,
the later goes first. Where the names of the question lead to other names ("the project that Tom works on"), what is
said of those counts, too, together with what leads there.

Summaries are ranked apart and come after all that is sure or said of whom the question names: of a full list one of
them takes the last place at most, and only from what is neither.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hotset.memory.candidates import Candidate, Question
from hotset.memory.relevance import logits, probability
from hotset.memory.words import NO_NAMES

#: So sure must the best be: what was never said is not known.
THRESHOLD = 0.25
#: Nearness for detours: what is said, the whole text, words and kind in common.
_WHOLE, _WORDS, _KIND = 0.3, 0.15, 0.2
#: What was true once, behind what is true; and what is said of others, behind what is said of whom the question names.
_PAST, _OTHERS = 6.0, 20.0
#: What probably took the place of another inherits its place unless it fits so much worse (in logits) itself.
_MUCH_WORSE = 9.0
#: So near in logits, the later of two statements goes first; looked for among the first. And if they are about one
#: property, as far as their vectors tell (from this cosine on), not so near.
_AS_WELL, _POSSIBLY_ONE = 1.0, 5
_AS_WELL_OF_ONE, _ONE_PROPERTY = 8.0, 0.4
#: A detour over another name has to be so much nearer than what is said of the question's own names; below that but
#: above _DETOUR_LEAST it gets the last places.
_DETOUR_MORE, _DETOUR_LEAST = 0.05, 0.35
#: From so near on a detour is an answer, however little is said of the question's own names.
_DETOUR_SURE = 0.6
#: What leads there counts for so much of it, and so does having all of the other name.
_DETOUR_BRIDGE, _DETOUR_NAME = 0.5, 0.4
_BRIDGES = 20
_DETOURS, _DETOUR_VERSIONS = 2, 3


@dataclass(slots=True)
class _Scored:
    """`fits`: the logit that it answers, with what it inherited; `near`: for detours."""

    one: Candidate
    fits: float
    near: float
    named: bool
    past: bool = False


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
    best = max((s.fits for s in scored.values() if s.named), default=-math.inf)
    _inherit(scored, question.when)
    order = sorted(scored.values(), key=lambda s: (-s.fits, -s.one.valid_from.timestamp(), str(s.one.id)))
    by_themselves = {s.one.id for s in order[:k]}
    order, led = _detours(question, order, scored)
    order = _later_first(order)
    if threshold > 0 and led < _DETOUR_SURE and probability(best) < threshold:
        return [], set()
    found = [(s.one.id, round(probability(s.fits + (0.0 if s.named else _OTHERS)), 4)) for s in order[:k]]
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


def _scored(question: Question, candidates: Sequence[Candidate]) -> dict[UUID, _Scored]:
    named = [c for c in candidates if _is_named(question, c)]
    own = {c.id for c in named}
    rest = [c for c in candidates if c.id not in own]
    others = max((c.about for c in rest), default=0.0)
    found = {c.id: _Scored(c, fits, _near(question, c), named=True)
             for c, fits in zip(named, logits(question, named, others), strict=True)}  # fmt: skip
    for c, fits in zip(rest, logits(question, rest, others), strict=True):
        found[c.id] = _Scored(c, fits - _OTHERS, _near(question, c), named=False)
    return found


def _is_named(question: Question, one: Candidate) -> bool:
    return 2 * len(question.names & one.names) >= len(question.names)


def _near(question: Question, one: Candidate) -> float:
    words = len(question.stems & one.stems) / len(question.stems) if question.stems else 0.0
    return one.about + _WHOLE * one.whole + _WORDS * words + (_KIND if question.kinds & one.kinds else 0.0)


def _inherit(scored: Mapping[UUID, _Scored], when: datetime) -> None:
    """Oldest first, so that the last of a chain inherits from all before it."""
    for old in sorted(scored.values(), key=lambda s: s.one.valid_from):
        old.past = old.one.valid_to is not None and old.one.valid_to <= when
        new = scored.get(old.one.superseded_by) if old.one.superseded_by else None
        if new is None or new.one.valid_from > when or new.one.valid_from < old.one.valid_from:
            continue
        if old.past or new.fits >= old.fits - _MUCH_WORSE:
            new.fits = max(new.fits, old.fits + 0.001)
            new.near = max(new.near, old.near)
    for one in scored.values():
        if one.past:
            one.fits -= _PAST


def _later_first(order: list[_Scored]) -> list[_Scored]:
    """Of two statements that fit about as well, or are of one property, the later stands first: it may have changed
    the earlier in words that nothing understood."""
    order = list(order)
    for i in range(1, min(len(order), _POSSIBLY_ONE)):
        j = i
        while j and _may_renew(order[j], order[j - 1]):
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    return order


def _may_renew(new: _Scored, old: _Scored) -> bool:
    if not (new.named and old.named and not new.past and new.one.valid_from > old.one.valid_from):
        return False
    behind = old.fits - new.fits
    return behind <= _AS_WELL or (behind <= _AS_WELL_OF_ONE and _of_one_property(new.one, old.one))


def _of_one_property(a: Candidate, b: Candidate) -> bool:
    return a.vector is not None and b.vector is not None and float(a.vector @ b.vector) >= _ONE_PROPERTY


def _detours(question: Question, order: list[_Scored], scored: Mapping[UUID, _Scored]) -> tuple[list[_Scored], float]:
    """What is said of names that the question leads to, with what leads there; and how near the best is
    where it is nearer than all that is said of the question's own names."""
    own = [s for s in order if question.names and question.names <= s.one.names]
    ways: dict[UUID, list[tuple[float, _Scored, _Scored]]] = {}
    apart = [s for s in order if not question.names & s.one.names and s.near >= _DETOUR_LEAST]
    for bridge in own[:_BRIDGES]:
        over = bridge.one.names - question.names - NO_NAMES
        if all(name[0].isdigit() for name in over):
            continue
        for s in apart:
            share = len(over & s.one.names) / len(over)
            if share >= 0.5 and not all(name[0].isdigit() for name in over & s.one.names):
                total = s.near + _DETOUR_BRIDGE * bridge.near + _DETOUR_NAME * share
                ways.setdefault(bridge.one.id, []).append((total, s, bridge))
    if not ways:
        return order, 0.0
    best = sorted((max(found, key=lambda way: way[0]) for found in ways.values()), key=lambda way: -way[0])
    _, nearest, bridge = best[0]
    if question.leads_on:
        # What is said there, the versions of it that nothing linked among them, and what leads there.
        there = sorted(ways[bridge.one.id], key=lambda way: -way[0])[:_DETOUR_VERSIONS]
        latest = {_newest(s, scored, question.when).one.id: s for _, s, _ in there}
        found = sorted((scored[i] for i in latest), key=lambda s: s.one.valid_from, reverse=True)
        return _first([found[0], bridge, *found[1:], order[0]], order), nearest.near
    pairs = [x for _, s, way in best[:_DETOURS] for x in (_newest(s, scored, question.when), way)]
    if nearest.near >= max(s.near for s in own) + _DETOUR_MORE:
        return _first([order[0], *pairs], order), nearest.near
    return _first([*order[:3], *pairs[:2]], order), 0.0


def _newest(one: _Scored, scored: Mapping[UUID, _Scored], when: datetime) -> _Scored:
    seen = {one.one.id}
    while (after := one.one.superseded_by) is not None and after in scored and after not in seen:
        new = scored[after]
        if new.one.valid_from > when:
            break
        one = new
        seen.add(after)
    return one


def _first(these: Collection[_Scored], order: Sequence[_Scored]) -> list[_Scored]:
    ids = dict.fromkeys(s.one.id for s in these)
    by_id = {s.one.id: s for s in order}
    return [by_id[i] for i in ids] + [s for s in order if s.one.id not in ids]
