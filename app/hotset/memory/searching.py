"""Searching: candidates from Postgres (all that fit where they are few, the index of vectors where they are many),
ranked by `ranking`, texts from where they lie."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hotset.errors import InvalidMemory
from hotset.memory import links
from hotset.memory.candidates import Candidate, Question
from hotset.memory.facts import kinds, kinds_of
from hotset.memory.ranking import THRESHOLD, rank
from hotset.memory.records import Memory, Wanted
from hotset.memory.scan import scanned
from hotset.memory.session import As, Session
from hotset.memory.vectors import received_many, sent
from hotset.memory.words import FUNCTION_WORDS, NO_NAMES, content, names, stem, sure_terms, tokens

if TYPE_CHECKING:
    from hotset.memory.vectors import Vector

#: Up to so many rows are compared one by one: some ten milliseconds, and nothing is missed.
EXACT_ROWS = 10_000
#: Of the index more is asked than is wanted: its order is nearly right, and ranking looks at more than distance. With
#: 100,000 rows in tight groups the ten nearest of .95 were found with 200, .98 with 400, 1.0 with 800.
EF_SEARCH = 800
_POOL, INDEXED = 32, 64
_SUMMARIES = 8
_KNOWN_S, _MOST_KNOWN = 60.0, 10_000
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


def doubtful(query: str) -> tuple[frozenset[str], str | None]:
    """Words that are names if they are so here, which the database knows; and the first word, which needs less proof:
    it has a capital anyway. A word that looks like a name is one; in a question without such words any may be."""
    words = tokens(query)
    found = _evident(query)
    first = words[0].lower()[:100] if words and words[0][:1].isupper() else None
    asked = {first} - {None} if found else {t.lower()[:100] for t in words}
    return frozenset(w for w in asked if w is not None and w not in FUNCTION_WORDS) - found, first


def known(session: Session, wanted: Wanted, words: Collection[str], first: str | None) -> frozenset[str]:
    """Those of the words that are names in these scopes."""
    asked = {**filters(session, wanted), "words": sorted(words), "first": first}
    return frozenset(row.term for row in session.fetch("known_terms", asked))


def understood(wanted: Wanted, here: frozenset[str]) -> Question:
    """`here`: of the doubtful words those that are names."""
    found = _evident(wanted.query) | here
    stems = frozenset(content(wanted.query)) - {stem(t) for t in found}
    return Question(wanted.query, found, stems, wanted.as_of or datetime.now(UTC), kinds(wanted.query))


def find(
    session: Session, wanted: Wanted, question: Question, vectors: tuple[Vector, Vector], sizes: Sizes
) -> list[tuple[UUID, float]]:
    """The best first, each with how surely it answers; none when nothing is relevant. `vectors`: of the question's
    meaning, and of the property that it asks for."""
    asked = {
        **filters(session, wanted),
        "as_of": question.when,
        "whole": sent(vectors[0]),
        "about": sent(vectors[1]),
        "terms": sorted(question.names),
        "no_names": sorted(NO_NAMES),
        "pool": max(_POOL, 2 * wanted.k),
        "indexed": max(INDEXED, 4 * wanted.k),
        "summaries": _SUMMARIES,
    }
    return rank(
        question,
        _read(_candidates(session, asked, question, few=sizes.few(session, wanted, asked))),
        wanted.k,
        THRESHOLD if wanted.threshold is None else wanted.threshold,
    )


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


class Sizes:
    """Whether few enough rows fit a search to compare each; asked once a minute. Should they be many more or fewer by
    then, answers are the same, or nearly, and come later. Thread-safe."""

    def __init__(self) -> None:
        self._few: dict[tuple[As, Wanted], tuple[float, bool]] = {}

    def few(self, session: Session, wanted: Wanted, asked: Mapping[str, Any]) -> bool:
        key = (session.who, replace(wanted, query="", k=1, as_of=None, threshold=None, texts=True))
        until, few = self._few.get(key, (0.0, True))
        if until <= time.monotonic():
            few = session.fetch("count", {**asked, "most": EXACT_ROWS + 1})[0].n <= EXACT_ROWS
            if len(self._few) >= _MOST_KNOWN:
                self._few.clear()
            self._few[key] = (time.monotonic() + _KNOWN_S, few)
        return few


def use_index(session: Session) -> None:
    """Enough is asked of the index, and it goes on until as many fit as are wanted. Postgres is kept from comparing and
    sorting all rows instead, as it does with a plan for any scope, which it keeps from the sixth search on."""
    session.connection.exec_driver_sql(
        f"SELECT set_config('hnsw.ef_search', '{EF_SEARCH}', true),"
        " set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.max_scan_tuples', '200000', true),"
        " set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_sort', 'off', true),"
        " set_config('enable_seqscan', 'on', true)"
    )


def memory_of(row: Any, score: float, text: str, tier: str, *, sources: Mapping[UUID, tuple[UUID, ...]]) -> Memory:
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
        sources=sources.get(row.id, ()),
    )


@lru_cache(256)
def _evident(query: str) -> frozenset[str]:
    return names(query) & sure_terms(query)


def _candidates(session: Session, asked: dict[str, Any], question: Question, *, few: bool) -> list[Any]:
    if few:
        return scanned(session, asked, question)
    use_index(session)
    near = session.fetch("near", asked)
    named = session.fetch("named", asked) if question.names else []
    made = session.fetch("near_summaries", asked) if links.there(session) else []
    ids = list(dict.fromkeys(row.id for row in (*near, *named, *made)))
    rows = session.fetch("candidates", {**asked, "ids": ids})
    led = _further(rows, question)
    if not led:
        return rows
    more = session.fetch("named", {**asked, "terms": led})
    return session.fetch("candidates", {**asked, "ids": [*ids, *(row.id for row in more)]})


def _further(rows: Collection[Any], question: Question) -> list[str]:
    """Names that stand beside all names of the question: the answer may be said of one of them."""
    if not question.names:
        return []
    beside = [row for row in rows if not row.summary and question.names <= frozenset(row.terms)]
    return sorted({t for row in beside for t in row.terms if not t[0].isdigit()} - question.names - NO_NAMES)[:50]


def _read(rows: Sequence[Any]) -> list[Candidate]:
    """In the order of the columns of `ranked.sql`: by their names it takes longer, and so do vectors one by one."""
    vectors = iter(received_many([row.vector for row in rows if row.vector is not None]))
    return [
        Candidate(
            memory,
            frozenset(terms),
            frozenset(stems),
            whole,
            about,
            said_by,
            valid_from,
            valid_to,
            superseded_by,
            kinds_of(attribute),
            None if vector is None else next(vectors),
            summary,
        )
        for (
            memory, attribute, valid_from, valid_to, superseded_by, said_by, terms, stems, whole, about, vector, summary
        ) in rows
    ]  # fmt: skip
