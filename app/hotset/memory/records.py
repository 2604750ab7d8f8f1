"""What memory takes and gives: frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

#: A longer text is refused; a text beyond 200 tokens is kept in several parts.
MOST_CHARS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """Something to remember. `at`: since when it is true (default: now). `ttl_s`: wall seconds until it goes."""

    text: str
    said_by: str = "user"
    subject: str | None = None
    at: datetime | None = None
    ttl_s: float | None = None
    importance: float = 0.5
    pinned: bool = False
    tags: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A search. `as_of`: what was true then. `threshold`: less relevant answers are not given; None: the default."""

    query: str
    scopes: tuple[str, ...]
    k: int = 5
    as_of: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    said_by: str | None = None
    tags: tuple[str, ...] = ()
    tier: str | None = None
    threshold: float | None = None
    texts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One memory as it is found. `tier`: where its text came from. `valid_to` None: still true, as far as is known.
    `key_by`: who found subject and attribute: "rules", or "model" where rules found no whole key.
    `sources`: of a summary, the memories that it is made of, as far as they are still there (`source["memories"]` says
    how many there were)."""

    id: UUID
    scope: str
    text: str
    score: float
    tier: str
    ring: str
    subject: str | None
    attribute: str | None
    valid_from: datetime
    valid_to: datetime | None
    recorded_at: datetime
    supersedes: UUID | None
    said_by: str
    source: Mapping[str, Any]
    tags: tuple[str, ...]
    importance: float
    pinned: bool
    sources: tuple[UUID, ...] = ()
    key_by: str = "rules"

    def as_dict(self, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
        """All of it, or these fields in this order."""
        whole = {**asdict(self), "tags": list(self.tags), "sources": list(self.sources)}
        return whole if fields is None else {name: whole[name] for name in fields}
