"""Remembering: verbatim, one transaction, no language model. Rules of English say what a text is about; if it gives the
value of something anew, the validity of the statement before ends where its own begins."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from uuid_utils.compat import uuid7

from hotset.embedder import ENCODER
from hotset.errors import InvalidMemory
from hotset.memory.chunks import chunks
from hotset.memory.facts import Statement, read, takes_place_of
from hotset.memory.records import MOST_CHARS, New
from hotset.memory.session import Session
from hotset.memory.vectors import Embeds, literal
from hotset.memory.words import content, mask, names, sure_terms, terms, tokens

_MOST_TERMS = 100
_MOST_STEMS = 300
_MOST_SOURCE = 4000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A memory ready to be written: what does not need the database is done."""

    id: UUID
    new: New
    statement: Statement
    embedding: str
    about: str | None

    @property
    def vector(self) -> str:
        return self.about or self.embedding


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a statement stands among those of its topic: what it closes, what closes it."""

    supersedes: UUID | None = None
    superseded_by: UUID | None = None
    valid_to: datetime | None = None


def prepare(new: Sequence[New], embedder: Embeds) -> list[list[Prepared]]:
    """Check all, then embed all; of each its parts. Raises InvalidMemory, EmbedderMissing."""
    parts = [[replace(one, text=part) for part in chunks(one.text)] for one in map(_checked, new)]
    flat = [part for whole in parts for part in whole]
    masked = [mask(part.text, names(part.text)) for part in flat]
    both = [part.text for part in flat] + [m for part, m in zip(flat, masked, strict=True) if m != part.text]
    vectors = dict(zip(both, embedder.embed(both), strict=True)) if both else {}
    made = iter(
        Prepared(
            uuid7(),
            part,
            _statement(part),
            literal(vectors[part.text]),
            literal(vectors[m]) if m != part.text else None,
        )
        for part, m in zip(flat, masked, strict=True)
    )
    grouped = [[next(made) for _ in whole] for whole in parts]
    return [_linked(group) for group in grouped]


def write(session: Session, scope: str, one: Prepared, *, settle: bool = True) -> UUID:
    """Insert it; with `settle`, compare it with what is known of its topic, now and not at the next consolidation."""
    tenant = session.who.tenant
    at = one.new.at
    place = _Place()
    if settle:
        session.rows("lock_topic", {"tenant": tenant, "scope": scope})
        at = at or datetime.now(UTC)
        place = _settled(session, scope, one.id, one.statement, one.vector, at)
    session.execute(
        "insert",
        {
            "id": one.id,
            "tenant": tenant,
            "scope": scope,
            "text": one.new.text,
            "digest": digest(one.new.text),
            "subject": one.statement.subject,
            "attribute": one.statement.key,
            "runs": [" ".join(sorted(run)) for run in one.statement.runs][:_MOST_TERMS],
            "single": one.statement.alone,
            "terms": sorted(terms(one.new.text))[:_MOST_TERMS],
            "sure": sorted(sure_terms(one.new.text)),
            "stems": sorted(set(content(one.new.text)))[:_MOST_STEMS],
            "at": at,
            "valid_to": place.valid_to,
            "supersedes": place.supersedes,
            "superseded_by": place.superseded_by,
            "settled": settle,
            "said_by": one.new.said_by,
            "source": json.dumps(dict(one.new.source)),
            "tags": list(one.new.tags),
            "importance": one.new.importance,
            "pinned": one.new.pinned,
            "ttl_s": one.new.ttl_s,
            "encoder": ENCODER,
            "embedding": one.embedding,
            "about": one.about,
        },
    )
    _link(session, one.id, place, at)
    return one.id


def settle(session: Session, row: Row[Any], statement: Statement) -> int:
    """What `write` does, for a row that was written without it; how many statements were closed by it."""
    session.rows("lock_topic", {"tenant": session.who.tenant, "scope": row.scope})
    place = _settled(session, row.scope, row.id, statement, row.vector, row.valid_from)
    session.execute(
        "settle",
        {
            "id": row.id,
            "supersedes": place.supersedes,
            "superseded_by": place.superseded_by,
            "valid_to": place.valid_to,
        },
    )
    _link(session, row.id, place, row.valid_from)
    return (place.supersedes is not None) + (place.superseded_by is not None)


def _link(session: Session, own: UUID, place: _Place, at: datetime | None) -> None:
    """What it closes names it, and so does what closes it."""
    if place.supersedes is not None:
        session.execute("close", {"id": place.supersedes, "by": own, "at": at})
    if place.superseded_by is not None:
        session.execute("follow", {"id": own, "by": place.superseded_by})


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _settled(session: Session, scope: str, own: UUID, statement: Statement, vector: str, at: datetime) -> _Place:
    """The surest among those that were true before is closed by it; if a later one is known already, that closes it."""
    if not statement.alone or not (statement.topic or statement.attribute):
        return _Place()
    asked = {
        "tenant": session.who.tenant,
        "scope": scope,
        "id": own,
        "about": vector,
        "names": sorted(statement.names | statement.topic),
        "subjects": [statement.subject] if statement.subject else [],
    }
    best: tuple[float, datetime, Row[Any]] | None = None
    after: Row[Any] | None = None
    for row in session.rows("same_topic", asked):
        other = _known(row)
        if row.valid_from <= at:
            sure = takes_place_of(statement, other, row.cosine)
            # What something later closed is closed by this at most if this lies between the two.
            is_open = row.superseded_by is None or (row.valid_to is not None and row.valid_to > at)
            if sure > 0 and is_open and (best is None or (sure, row.valid_from) > best[:2]):
                best = (sure, row.valid_from, row)
        elif row.text and takes_place_of(read(row.text), statement, row.cosine) > 0:
            after = row if after is None or row.valid_from < after.valid_from else after
    return _Place(
        best[2].id if best else None,
        after.id if after is not None else None,
        after.valid_from if after is not None else None,
    )


def _known(row: Row[Any]) -> Statement:
    """As an earlier statement, without its text: what takes its place needs no more of it."""
    return Statement(
        frozenset((row.subject or "").split()),
        frozenset((row.attribute or "").split()),
        False,
        frozenset(),
        frozenset(row.terms),
        frozenset(row.stems),
        row.single,
        tuple(frozenset(run.split()) for run in row.runs),
    )


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
