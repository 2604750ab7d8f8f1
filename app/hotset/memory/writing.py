"""Remembering: verbatim, one transaction, no language model. Rules of English say what a text is about; if it gives the
value of something anew, the validity of the statement before ends where its own begins."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Row
from uuid_utils.compat import uuid7

from hotset.embedder import ENCODER, CachedEmbedder
from hotset.errors import InvalidMemory
from hotset.memory.chunks import Chunking, chunks, semantic_chunks
from hotset.memory.facts import Statement, read
from hotset.memory.records import MOST_CHARS, New
from hotset.memory.renewal import LIKELY, SURE, Known, renewed
from hotset.memory.session import Session
from hotset.memory.vectors import Embeds, received, sent
from hotset.memory.words import NO_NAMES, content, sure_terms, terms, tokens

if TYPE_CHECKING:
    from hotset.memory.vectors import Vector

_MOST_TERMS = 100
_MOST_STEMS = 300
_MOST_SOURCE = 4000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A memory ready to be written: what does not need the database is done."""

    id: UUID
    new: New
    statement: Statement
    whole: Vector
    about: Vector

    @property
    def known(self) -> Known:
        return Known(self.statement, terms(self.new.text), self.whole, self.about)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a statement stands among the others: what it renews, what renews it. What does so surely closes; what does
    so probably (no time is given then) goes before it in answers, and both stand."""

    supersedes: UUID | None = None
    closes_at: datetime | None = None
    superseded_by: UUID | None = None
    valid_to: datetime | None = None


def prepare(new: Sequence[New], embedder: CachedEmbedder, chunking: Chunking = "sentences") -> list[list[Prepared]]:
    """Check all, then embed all; of each its parts. Raises InvalidMemory, EmbedderMissing."""

    def cut(text: str) -> list[str]:
        if chunking == "sentences":
            return chunks(text)
        # Forgetting knows the parts alone, not the sentences that they were cut from.
        return semantic_chunks(text, lambda pieces: embedder.uncached.embed(pieces)[0])

    parts = [[replace(one, text=part) for part in cut(one.text)] for one in map(_checked, new)]
    flat = [part for whole in parts for part in whole]
    texts = [part.text for part in flat]
    vectors = zip(*embedder.embed(texts), strict=True)
    made = iter(
        Prepared(uuid7(), part, _statement(part), whole, about)
        for part, (whole, about) in zip(flat, vectors, strict=True)
    )
    grouped = [[next(made) for _ in whole] for whole in parts]
    return [_linked(group) for group in grouped]


def prepare_summary(new: New, embedder: Embeds) -> Prepared:
    """In one piece, about nothing: no fact is renewed by what a model made of it. Raises as `prepare`."""
    new = _checked(new)
    (whole,), (about,) = embedder.embed([new.text])
    statement = replace(read(new.text), topic=frozenset(), attribute=frozenset(), alone=False)
    return Prepared(uuid7(), new, statement, whole, about)


def write_summary(session: Session, scope: str, one: Prepared) -> UUID:
    """Insert it, compared with nothing. Its names are not listed among those that are known in the scope: they would
    change how questions are understood."""
    _insert(session, scope, one, _Place(), one.new.at, settled=True, ring="summary")
    return one.id


def write(session: Session, scope: str, one: Prepared, *, settle: bool = True) -> UUID:
    """Insert it; with `settle`, compare it with what is known of its topic, now and not at the next consolidation."""
    tenant = session.who.tenant
    at = one.new.at
    place = _Place()
    if settle:
        session.rows("lock_topic", {"tenant": tenant, "scope": scope})
        at = at or datetime.now(UTC)
        place = _settled(session, scope, one.id, one.known, at)
    _insert(session, scope, one, place, at, settled=settle)
    _link(session, one.id, place)
    return one.id


def _insert(
    session: Session,
    scope: str,
    one: Prepared,
    place: _Place,
    at: datetime | None,
    *,
    settled: bool,
    ring: str = "episode",
) -> None:
    named = sorted(terms(one.new.text))[:_MOST_TERMS]
    session.execute(
        "insert",
        {
            "id": one.id,
            "tenant": session.who.tenant,
            "scope": scope,
            "ring": ring,
            "text": one.new.text,
            "digest": digest(one.new.text),
            "subject": one.statement.subject,
            "attribute": one.statement.key,
            "runs": [" ".join(sorted(run)) for run in one.statement.runs][:_MOST_TERMS],
            "single": one.statement.alone,
            "terms": named,
            "listed": [] if ring == "summary" else named,
            "sure": sorted(sure_terms(one.new.text)),
            "stems": sorted(set(content(one.new.text)))[:_MOST_STEMS],
            "at": at,
            "valid_to": place.valid_to,
            "supersedes": place.supersedes,
            "superseded_by": place.superseded_by,
            "settled": settled,
            "said_by": one.new.said_by,
            "source": json.dumps(dict(one.new.source)),
            "tags": list(one.new.tags),
            "importance": one.new.importance,
            "pinned": one.new.pinned,
            "ttl_s": one.new.ttl_s,
            "encoder": ENCODER,
            "embedding": sent(one.whole),
            "about": sent(one.about),
        },
    )


def settle(session: Session, row: Row[Any], statement: Statement) -> int:
    """What `write` does, for a row that was written without it; how many statements were closed by it."""
    session.rows("lock_topic", {"tenant": session.who.tenant, "scope": row.scope})
    known = Known(statement, terms(row.text), received(row.whole), received(row.about))
    place = _settled(session, row.scope, row.id, known, row.valid_from)
    session.execute(
        "settle",
        {
            "id": row.id,
            "supersedes": place.supersedes,
            "superseded_by": place.superseded_by,
            "valid_to": place.valid_to,
        },
    )
    _link(session, row.id, place)
    return (place.closes_at is not None) + (place.valid_to is not None)


def _link(session: Session, own: UUID, place: _Place) -> None:
    """What it renews names it, and so does what renews it."""
    if place.supersedes is not None:
        session.execute("close", {"id": place.supersedes, "by": own, "at": place.closes_at})
    if place.superseded_by is not None:
        session.execute("follow", {"id": own, "by": place.superseded_by})


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _settled(session: Session, scope: str, own: UUID, new: Known, at: datetime) -> _Place:
    """At most one of those that were true before is renewed by it, and it is by at most one that is true later."""
    statement = new.statement
    if not statement.alone:
        return _Place()
    asked = {
        "tenant": session.who.tenant,
        "scope": scope,
        "id": own,
        "about": sent(new.about),
        "names": sorted(statement.names | statement.topic),
        "terms": sorted(new.terms - NO_NAMES | statement.topic),
        "subjects": [statement.subject] if statement.subject else [],
    }
    rows = [(row, _known(row)) for row in session.rows("same_topic", asked)]
    everyone = [known for _, known in rows]
    related = [(row, known) for row, known in rows if row.related and row.single]
    before = [(row, known) for row, known in related if row.valid_from <= at]
    place = _Place()
    for share, (row, _) in sorted(
        zip(renewed(new, [known for _, known in before], everyone), before, strict=True), key=lambda x: -x[0]
    ):
        # What something later closed is closed by this at most if this lies between the two.
        is_open = row.superseded_by is None or row.valid_to is None or row.valid_to > at
        if share >= LIKELY and is_open:
            place = _Place(row.id, at if share >= SURE else None)
            break
    later = [(row, known) for row, known in related if row.valid_from > at and row.text]
    for row, known in sorted(later, key=lambda x: x[0].valid_from):
        said = Known(read(row.text), known.terms, known.whole, known.about)
        (share,) = renewed(said, [new], everyone)
        if share >= LIKELY:
            return _Place(place.supersedes, place.closes_at, row.id, row.valid_from if share >= SURE else None)
    return place


def _known(row: Row[Any]) -> Known:
    """As an earlier statement, without its text, which may lie in a segment: what renews it needs no more of it."""
    statement = Statement(
        frozenset((row.subject or "").split()),
        frozenset((row.attribute or "").split()),
        False,
        frozenset(),
        frozenset(row.terms),
        frozenset(row.stems),
        row.single,
        tuple(frozenset(run.split()) for run in row.runs),
    )
    return Known(statement, frozenset(row.terms), received(row.whole), received(row.about))


def _statement(new: New) -> Statement:
    found = read(new.text)
    if new.subject is None:
        return found
    return replace(found, topic=frozenset(t.lower() for t in tokens(new.subject)))


def _linked(group: list[Prepared]) -> list[Prepared]:
    """Parts of one text know the first of them, and their number; none closes anything."""
    if len(group) == 1:
        return group
    first = str(group[0].id)
    return [
        replace(
            part,
            new=replace(part.new, source={**part.new.source, "whole": first, "part": i, "parts": len(group)}),
            statement=replace(part.statement, alone=False),
        )
        for i, part in enumerate(group)
    ]


def _checked(new: New) -> New:
    text = new.text.replace("\x00", "").strip() if isinstance(new.text, str) else ""
    if not text or len(text) > MOST_CHARS:
        raise InvalidMemory(
            f"A memory has 1 to {MOST_CHARS:,} characters.", remedy="Give some text, or several memories."
        )
    if not 0 <= new.importance <= 1:
        raise InvalidMemory(f"The importance {new.importance} is not between 0 and 1.")
    if new.ttl_s is not None and not (math.isfinite(new.ttl_s) and 0 < new.ttl_s <= 1e9):
        raise InvalidMemory(f"The ttl {new.ttl_s} is no number of seconds.")
    if not new.said_by or len(new.said_by) > 200 or len(new.tags) > 50 or any(len(t) > 100 for t in new.tags):
        raise InvalidMemory("said_by has 1 to 200 characters; there are at most 50 tags of 100 characters.")
    if new.subject is not None and not 0 < len(new.subject) <= 200:
        raise InvalidMemory("A subject has 1 to 200 characters.")
    if new.at is not None and new.at.tzinfo is None:
        raise InvalidMemory("`at` has no time zone.", remedy="Give for example datetime.now(UTC).")
    try:
        size = len(json.dumps(dict(new.source)))
    except (TypeError, ValueError) as e:
        raise InvalidMemory(f"The source is not JSON: {e}.") from e
    if size > _MOST_SOURCE:
        raise InvalidMemory(f"The source has {size} characters of JSON, at most {_MOST_SOURCE} are kept.")
    return replace(new, text=text)
