"""Searching: candidates from Postgres (all that fit where they are few, the index of vectors where they are many),
ranked by `ranking`, texts from where they lie."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from hotset.errors import InvalidMemory
from hotset.memory.facts import kinds, kinds_of
from hotset.memory.ranking import THRESHOLD, Candidate, Question, rank
from hotset.memory.records import Memory, Wanted
from hotset.memory.session import Session
from hotset.memory.vectors import Embeds, literal
from hotset.memory.words import FUNCTION_WORDS, NO_NAMES, content, mask, names, stem, sure_terms, tokens

#: Up to so many rows are compared one by one: a few milliseconds, and nothing is missed.
EXACT_ROWS = 5000
#: Of the index more is asked than is wanted: its order is nearly right, and ranking looks at more than distance.
EF_SEARCH = 200
_POOL = 60
MOST_QUERY = 4000
MOST_K = 200


def check(wanted: Wanted) -> Wanted:
    """Raises InvalidMemory."""
    if not wanted.query.strip() or len(wanted.query) > MOST_QUERY:
        raise InvalidMemory(f"A question has 1 to {MOST_QUERY} characters.")
    if not 1 <= wanted.k <= MOST_K:
        raise InvalidMemory(f"k is {wanted.k}: give 1 to {MOST_K}.")
    if wanted.tier not in (None, "warm", "cold"):
        raise InvalidMemory(f"There is no tier {wanted.tier!r} to search.", remedy="It is warm or cold.")
    for when in (wanted.as_of, wanted.since, wanted.until):
        if when is not None and when.tzinfo is None:
            raise InvalidMemory("A time has no time zone.", remedy="Give for example datetime.now(UTC).")
    return wanted


def find(session: Session, wanted: Wanted, embedder: Embeds) -> list[tuple[Row[Any], float]]:
    """Rows of `sql/candidates.sql`, the best first, each with its relevance; none when nothing is relevant."""
    where = filters(session, wanted)
    question = _understood(session, wanted, where)
    masked = mask(wanted.query, question.names)
    vectors = embedder.embed([wanted.query] if masked == wanted.query else [wanted.query, masked])
    asked = {
        **where,
        "whole": literal(vectors[0]),
        "about": literal(vectors[-1]),
        "terms": sorted(question.names),
        "stems": sorted(question.stems),
        "pool": max(_POOL, 2 * wanted.k),
    }
    ids = _ids(session, asked)
    rows = session.rows("candidates", {**asked, "ids": ids})
    led = _further(rows, question)
    if led:
        more = _ids(session, {**asked, "terms": led}, only_named=True)
        rows = session.rows("candidates", {**asked, "ids": [*ids, *more]})
    ranked = rank(
        question,
        [_candidate(row) for row in rows],
        wanted.k,
        THRESHOLD if wanted.threshold is None else wanted.threshold,
    )
    by_id = {row.id: row for row in rows}
    return [(by_id[i], score) for i, score in ranked]


def filters(session: Session, wanted: Wanted) -> dict[str, Any]:
    return {
        "tenant": session.who.tenant,
        "scopes": list(wanted.scopes),
        "as_of": wanted.as_of or datetime.now(UTC),
        "since": wanted.since,
        "until": wanted.until,
        "said_by": wanted.said_by,
        "tags": list(wanted.tags) or None,
        "tier": wanted.tier,
    }


def few_fit(session: Session, where: dict[str, Any]) -> bool:
    return bool(session.rows("count", {**where, "most": EXACT_ROWS + 1})[0].n <= EXACT_ROWS)


def use_index(session: Session) -> None:
    """Enough is asked of the index, and it goes on until as many fit as are wanted."""
    session.connection.exec_driver_sql(
        f"SELECT set_config('hnsw.ef_search', '{EF_SEARCH}', true),"
        " set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.max_scan_tuples', '200000', true)"
    )


def memory_of(row: Row[Any], score: float, text: str, tier: str) -> Memory:
    return Memory(
        id=row.id,
        scope=row.scope,
        text=text,
        score=score,
        tier=tier,
        ring=row.ring,
        subject=row.subject,
        attribute=row.attribute,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        recorded_at=row.recorded_at,
        supersedes=row.supersedes,
        said_by=row.said_by,
        source=row.source,
        tags=tuple(row.tags),
        importance=row.importance,
        pinned=row.pinned,
    )


def _understood(session: Session, wanted: Wanted, where: dict[str, Any]) -> Question:
    """A word is a name when it looks like one, or, in a question without such words, when it is one here."""
    words = tokens(wanted.query)
    found = names(wanted.query) & sure_terms(wanted.query)
    first = words[0].lower()[:100] if words and words[0][:1].isupper() else None
    doubtful = {t.lower()[:100] for t in words} - FUNCTION_WORDS if not found else {first} - {None}
    if doubtful - found:
        known = session.rows("known_terms", {**where, "words": sorted(doubtful - found), "first": first})
        found |= {row.term for row in known}
    stems = frozenset(content(wanted.query)) - {stem(t) for t in found}
    return Question(wanted.query, found, stems, where["as_of"], kinds(wanted.query))


def _ids(session: Session, asked: dict[str, Any], *, only_named: bool = False) -> list[UUID]:
    if only_named:
        return [row.id for row in session.rows("named", asked)]
    if few_fit(session, asked):
        return [row.id for row in session.rows("scan", asked)]
    use_index(session)
    near = session.rows("near", asked)
    named = session.rows("named", asked) if asked["terms"] else []
    return list(dict.fromkeys(row.id for row in (*near, *named)))


def _further(rows: Collection[Row[Any]], question: Question) -> list[str]:
    """Names that stand beside all names of the question: the answer may be said of one of them."""
    if not question.names:
        return []
    beside = [row for row in rows if question.names <= frozenset(row.terms)]
    return sorted({t for row in beside for t in row.terms if not t[0].isdigit()} - question.names - NO_NAMES)[:50]


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(
        row.id,
        frozenset(row.terms),
        frozenset(row.stems),
        row.whole,
        row.about,
        row.said_by,
        row.valid_from,
        row.valid_to,
        row.superseded_by,
        kinds_of(row.attribute),
        row.subject,
    )
