"""From candidates to answers. Pure: the same candidates give the same order, wherever their texts lie.

A candidate's score is how near its meaning is with names left out, plus the share of the question's names that it
has, plus little for the whole text's nearness and for words in common. What took the place of a candidate inherits its
score and goes before it. Where the names of the question lead to other names ("the project that Tom works on"), what is
said of those counts, too, together with what leads there. A kind of property (a place, a time, a price ...) that
both question and candidate name counts as well. Weights and threshold were chosen on the development
templates (`hotset bench memory --templates development`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hotset.memory.words import NO_NAMES

_WHOLE, _WORDS, _SPEAKER, _KIND = 0.3, 0.15, 0.15, 0.2
#: Below it nothing is answered: what was never said is not known.
THRESHOLD = 0.45
#: What was true once, behind what is true.
_PAST = 0.3
#: A detour over another name has to be so much nearer than what is said of the question's own names; below that but
#: above _DETOUR_LEAST it gets the last places.
_DETOUR_MORE, _DETOUR_LEAST = 0.05, 0.35
_BRIDGES = 12
#: So near in score, two statements on one subject may be one fact in two versions; looked for among the first.
_AS_WELL, _POSSIBLY_ONE = 0.1, 6
_DETOURS = 2
_ASKS_ASSISTANT = re.compile(
    r"\b(?:did|have|had|were|was|do) you\b|\byou(?:'ve|'d)? (?:\w+ )?(?:said|told|suggest|recommend|advis|propos|"
    r"mention|promis|offer|explain|giv|gave)\w*|\byour (?:advice|suggestion|recommendation|proposal|answer|tip|"
    r"idea)s?\b"
    r"|\bthe assistant\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """`names`: of those in the question all that are names in these scopes, or look like names. `stems`: its other
    words."""

    text: str
    names: frozenset[str]
    stems: frozenset[str]
    when: datetime
    kinds: frozenset[str] = frozenset()

    @property
    def asks_assistant(self) -> bool:
        return bool(_ASKS_ASSISTANT.search(self.text))


@dataclass(frozen=True, slots=True)
class Candidate:
    """`whole`, `about`: cosines of the text and of the text without names with the question's."""

    id: UUID
    names: frozenset[str]
    stems: frozenset[str]
    whole: float
    about: float
    said_by: str
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: UUID | None
    kinds: frozenset[str] = frozenset()
    subject: str | None = None


@dataclass(slots=True)
class _Scored:
    one: Candidate
    score: float
    #: The score without names: comparable between questions.
    relevance: float
    past: bool = False


def rank(
    question: Question, candidates: Sequence[Candidate], k: int, threshold: float = THRESHOLD
) -> list[tuple[UUID, float]]:
    """The best k with their relevance, or nothing when none is relevant enough."""
    scored = {c.id: _score(question, c) for c in candidates}
    direct = [s for s in scored.values() if _names(question, s.one) >= 0.5] if question.names else [*scored.values()]
    best = max((s.relevance for s in direct), default=0.0)
    _inherit(scored, question.when)
    order = sorted(scored.values(), key=lambda s: (-s.score, -s.one.valid_from.timestamp(), str(s.one.id)))
    order = _later_first(order)
    order, led = _detours(question, order, scored)
    if max(best, led) < threshold:
        return []
    return [(s.one.id, round(s.relevance, 4)) for s in order[:k]]


def _score(question: Question, one: Candidate) -> _Scored:
    words = len(question.stems & one.stems) / len(question.stems) if question.stems else 0.0
    relevance = one.about + _WHOLE * one.whole + _WORDS * words
    if question.asks_assistant and one.said_by == "assistant":
        relevance += _SPEAKER
    if question.kinds & one.kinds:
        relevance += _KIND
    past = one.valid_to is not None and one.valid_to <= question.when
    return _Scored(one, relevance + _names(question, one), relevance, past)


def _names(question: Question, one: Candidate) -> float:
    return len(question.names & one.names) / len(question.names) if question.names else 0.0


def _inherit(scored: Mapping[UUID, _Scored], when: datetime) -> None:
    """Oldest first, so that the last of a chain inherits from all before it."""
    for old in sorted(scored.values(), key=lambda s: s.one.valid_from):
        new = scored.get(old.one.superseded_by) if old.one.superseded_by else None
        if new is None or new.one.valid_from > when:
            continue
        new.score = max(new.score, old.score + 0.001)
        new.relevance = max(new.relevance, old.relevance)
        old.past = True
    for one in scored.values():
        if one.past:
            one.score -= _PAST


def _later_first(order: list[_Scored]) -> list[_Scored]:
    """Of two statements on one subject that fit about as well, the later stands first: it may have changed the earlier
    in words that no rule understood."""
    order = list(order)
    for i in range(1, min(len(order), _POSSIBLY_ONE)):
        j = i
        while j and _may_renew(order[j], order[j - 1]):
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    return order


def _may_renew(new: _Scored, old: _Scored) -> bool:
    return (
        new.one.subject is not None
        and new.one.subject == old.one.subject
        and not new.past
        and new.one.valid_from > old.one.valid_from
        and old.score - new.score <= _AS_WELL
    )


def _detours(question: Question, order: list[_Scored], scored: Mapping[UUID, _Scored]) -> tuple[list[_Scored], float]:
    """What is said of names that the question leads to, with what leads there; and how relevant the best of it is."""
    own = [s for s in order if question.names and question.names <= s.one.names]
    if not own:
        return order, 0.0
    bridges: dict[str, _Scored] = {}
    for s in own[:_BRIDGES]:
        for name in s.one.names - question.names - NO_NAMES:
            if not name[0].isdigit():
                bridges.setdefault(name, s)
    best: dict[UUID, tuple[float, _Scored, _Scored]] = {}
    for s in order:
        if question.names & s.one.names:
            continue
        for name in s.one.names & bridges.keys():
            bridge = bridges[name]
            found = (s.relevance, s, bridge)
            if bridge.one.id not in best or found[0] > best[bridge.one.id][0]:
                best[bridge.one.id] = found
    near = max(s.relevance for s in own)
    ways = sorted(best.values(), key=lambda way: -way[0])[:_DETOURS]
    ways = [way for way in ways if way[0] >= _DETOUR_LEAST]
    if not ways:
        return order, 0.0
    pairs = [x for _, target, bridge in ways for x in (_newest(target, scored, question.when), bridge)]
    if ways[0][0] >= near + _DETOUR_MORE:
        return _first([order[0], *pairs], order), ways[0][1].relevance
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
