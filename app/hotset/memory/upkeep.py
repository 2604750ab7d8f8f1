"""What is done to memories on schedule, tenant by tenant, batch by batch; each batch is one transaction, and may be
done by several workers at once. All of it is audited, in numbers and ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from hotset.embedder import ENCODER, CachedEmbedder
from hotset.errors import SegmentDamaged
from hotset.memory import keyrows, links, tiers
from hotset.memory.facts import read
from hotset.memory.forgetting import forget
from hotset.memory.segments import unpack
from hotset.memory.session import As, Session, opened
from hotset.memory.tiers import Hot, read_texts
from hotset.memory.vectors import sent
from hotset.memory.writing import digest, settle
from hotset.store.engine import connected

_BATCH = 200
#: What is at least so important stays, whatever its age.
IMPORTANT = 0.7
_WEEK_S = 7 * 86400


@dataclass(frozen=True, slots=True)
class Consolidated:
    """Numbers: compared with what was known, of these closed; exact duplicates merged; near ones proposed; rows that
    joined the core ring."""

    settled: int = 0
    closed: int = 0
    merged: int = 0
    proposed: int = 0
    core: int = 0


@dataclass(frozen=True, slots=True)
class Drill:
    """A segment that was restored beside the live data, and compared. `faults`: what was not as it should be."""

    segment: UUID
    scope: str
    entries: int
    faults: tuple[str, ...]


def tenants(engine: Engine) -> list[str]:
    """Names only; the role of the memory cannot read them."""
    with connected(engine) as connection:
        return [row.tenant for row in connection.exec_driver_sql("SELECT tenant FROM memory_tenants ORDER BY 1")]


def consolidate(engine: Engine, who: As) -> Consolidated:
    """Everything that waits for it."""
    done = Consolidated()
    while batch := _in_one(engine, who, _settle_batch):
        done = replace(done, settled=done.settled + batch[0], closed=done.closed + batch[1])
        if batch[0] < _BATCH:
            break
    while merged := _in_one(engine, who, _merge_batch):
        done = replace(done, merged=done.merged + merged)
    with opened(engine, who) as session:
        asked = {"tenant": who.tenant, "newer_s": _WEEK_S}
        proposed, core = session.execute("near_duplicates", asked), session.execute("core", asked)
        done = replace(done, proposed=proposed, core=core)
        if done != Consolidated():
            counts = {name: getattr(done, name) for name in ("settled", "closed", "merged", "proposed", "core")}
            session.audit("memory-consolidated", json.dumps(counts))
    return done


def demote_old(engine: Engine, who: As, *, older_s: float) -> int:
    """Warm memories that nobody used for so long go cold, a segment after the other; how many."""
    with opened(engine, who) as session:
        scopes = [row.scope for row in session.rows("scopes_of", {"tenant": who.tenant})]
    total = 0
    for scope in scopes:
        while moved := tiers.demote(engine, who, scope, older_s=older_s):
            total += moved
    if total:
        with opened(engine, who) as session:
            session.audit("memory-demoted", json.dumps({"memories": total}))
    return total


def clean(engine: Engine, who: As, embedder: CachedEmbedder, hot: Hot, *, keep_days: int) -> int:
    """Memories whose time is over are forgotten as by hand; how many. 0 days: only those with a ttl."""
    total = 0
    while True:
        with opened(engine, who) as session:
            asked = {"tenant": who.tenant, "keep_days": keep_days, "importance": IMPORTANT, "limit": _BATCH}
            ids = [row.id for row in session.rows("old", asked)]
            if not ids:
                return total
            # Summaries are there to outlive what they are made of.
            total += len(forget(session, ids, hot, embedder, "older than it is kept", keep_summaries=True))


def renew_vectors(engine: Engine, who: As, embedder: CachedEmbedder, hot: Hot) -> int:
    """Memories whose vectors another encoder made get those of this one; how many. Until then they are found by names
    and words as ever, by nearness badly. Raises EmbedderMissing, SegmentDamaged."""
    total = 0
    while True:
        with opened(engine, who) as session:
            asked = {"tenant": who.tenant, "encoder": ENCODER, "limit": _BATCH}
            found = read_texts(session, hot, session.rows("outdated", asked))
        if not found:
            break
        # Outside of any transaction: the encoder takes its time.
        meanings, properties = embedder.embed([text for text, _ in found.values()])
        with opened(engine, who) as session:
            for memory, whole, about in zip(found, meanings, properties, strict=True):
                vectors = {"id": memory, "whole": sent(whole), "about": sent(about)}
                total += session.execute("renew_vectors", {"tenant": who.tenant, "encoder": ENCODER, **vectors})
    if total:
        with opened(engine, who) as session:
            session.audit("memory-vectors-renewed", json.dumps({"memories": total, "encoder": ENCODER}))
    return total


def drill(engine: Engine, who: As) -> Drill | None:
    """Restore a random segment beside the live data and compare each text; None when nothing is cold. Audited."""
    with opened(engine, who) as session:
        found = session.rows("drill", {"tenant": who.tenant})
        return _checked(session, found[0]) if found else None


def verify_all(engine: Engine, who: As, progress: Callable[[int], None] = lambda _: None) -> list[Drill]:
    """As a drill, of every segment."""
    drills: list[Drill] = []
    after = UUID(int=0)
    while True:
        with opened(engine, who) as session:
            page = session.rows("segments_all", {"tenant": who.tenant, "after": after})
            if not page:
                return drills
            drills += [_checked(session, row) for row in page]
            after = page[-1].id
        progress(len(drills))


def restore(engine: Engine, who: As) -> int:
    """Every cold memory becomes warm again, segment by segment; how many. Raises SegmentDamaged."""
    total = 0
    while True:
        with opened(engine, who) as session:
            page = session.rows("segments_all", {"tenant": who.tenant, "after": UUID(int=0)})
            ids = [
                row.id
                for segment in page
                for row in session.rows(
                    "in_segment", {"tenant": who.tenant, "scope": segment.scope, "segment": segment.id}
                )
            ]
        if not ids:
            break
        total += tiers.promote(engine, who, ids)
    if total:
        with opened(engine, who) as session:
            session.audit("memory-restored", json.dumps({"memories": total}))
    return total


def _in_one(engine: Engine, who: As, batch: Callable[[Session], Any]) -> Any:
    with opened(engine, who) as session:
        return batch(session)


def _settle_batch(session: Session) -> tuple[int, int] | None:
    rows = session.rows("unsettled", {"tenant": session.who.tenant, "limit": _BATCH})
    closed = 0
    for row in rows:
        statement = read(row.text) if row.text else None
        if statement is not None and row.vector is not None:
            closed += settle(session, row, statement)
        else:
            session.execute("settle", {"id": row.id, "supersedes": None, "superseded_by": None, "valid_to": None})
    return (len(rows), closed) if rows else None


def _merge_batch(session: Session) -> int:
    """Chains of one text are merged pair by pair: a row that went with the batch is left to the next."""
    touched: set[UUID] = set()
    merged = 0
    summaries, keys = links.there(session), keyrows.there(session)
    for row in session.rows("duplicates", {"tenant": session.who.tenant, "limit": _BATCH}):
        if row.older in touched or row.newer in touched:
            continue
        touched |= {row.older, row.newer}
        asked = {"tenant": session.who.tenant, "ids": [row.newer], "scopes": []}
        newer = session.rows("get", asked)
        if newer and newer[0].segment is not None:
            tiers.take_out(session, {newer[0].segment: [row.newer]})
        if summaries:
            # What was made of the newer goes with the older from now on.
            session.execute("merge_links", {"tenant": session.who.tenant, "older": row.older, "newer": row.newer})
        if keys:
            session.execute("keys_merge", {"tenant": session.who.tenant, "older": row.older, "newer": row.newer})
        session.execute("merge", {"tenant": session.who.tenant, "older": row.older, "newer": row.newer})
        merged += 1
    return merged


def _checked(session: Session, row: Any) -> Drill:
    faults: list[str] = []
    texts: dict[UUID, str] = {}
    try:
        texts = unpack(bytes(row.body), bytes(row.checksum))
    except SegmentDamaged as e:
        faults.append(str(e))
    asked = {"tenant": session.who.tenant, "scope": row.scope, "segment": row.id}
    wanted = {m.id: bytes(m.digest) for m in session.rows("in_segment", asked)}
    if not faults:
        faults += [f"memory {i} is not in it" for i in wanted.keys() - texts.keys()]
        faults += [f"memory {i} is in it, and nowhere else" for i in texts.keys() - wanted.keys()]
        faults += [f"memory {i} is another text" for i in wanted if i in texts and digest(texts[i]) != wanted[i]]
    if not faults:
        session.execute("verified", {"id": row.id})
    detail = {"segment": str(row.id), "entries": row.entries, "faults": len(faults)}
    session.audit("memory-drill", json.dumps(detail))
    return Drill(row.id, row.scope, row.entries, tuple(faults))
