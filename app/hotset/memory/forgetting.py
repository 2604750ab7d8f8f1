"""Forgetting: a memory goes from every tier, cache and segment; what it had closed is open again. Erasing: all of a
tenant goes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine

from hotset.embedder import CachedEmbedder
from hotset.errors import SegmentDamaged
from hotset.memory import keyrows
from hotset.memory.links import drop_all, drop_summaries, there
from hotset.memory.segments import unpack
from hotset.memory.session import As, Session, opened
from hotset.memory.tiers import Hot, read_texts, take_out
from hotset.store.engine import undisturbed


def forget(
    session: Session,
    ids: Sequence[UUID],
    hot: Hot,
    embedder: CachedEmbedder,
    reason: str,
    *,
    keep_summaries: bool = False,
) -> list[UUID]:
    """Those that were there, with the other parts of their texts, and all summaries that they are in (unless those are
    to stay). Inside one transaction: segments are written anew, then rows go. Raises redis.RedisError before anything
    commits when the caches cannot be cleared."""
    if keys := keyrows.there(session):
        keyrows.lock(session)
    scopes = [row.scope for row in session.rows("scopes_of", {"tenant": session.who.tenant})]
    rows = session.rows("get", {"tenant": session.who.tenant, "ids": list(ids), "scopes": scopes})
    if not rows:
        return []
    if not keep_summaries and there(session):
        rows += drop_summaries(session, [row.id for row in rows])
    texts = {memory: text for memory, (text, _) in read_texts(session, Hot(None), rows).items()}
    if keys:
        keyrows.drop(session, texts, {row.scope for row in rows})
    by_segment: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        if row.segment is not None:
            by_segment[row.segment].append(row.id)
    if by_segment:
        take_out(session, by_segment)
    found = [row.id for row in rows]
    session.rows("forget", {"tenant": session.who.tenant, "ids": found})
    session.audit("memory-forgotten", json.dumps({"ids": [str(i) for i in found], "reason": reason}))
    _clear_caches(hot, embedder, found, list(texts.values()))
    return found


def erase_all(engine: Engine, who: As, hot: Hot, embedder: CachedEmbedder, reason: str | None) -> int:
    """All of the tenant's memories, with its scopes, grants and handoffs, a segment or a thousand rows a transaction;
    how many memories went. What is done stays done when it breaks off: call it again. Raises redis.RedisError when a
    cache cannot be cleared. One entry in the audit."""
    done = 0
    with opened(engine, who) as session:
        # First, so that no worker keeps an answer any more.
        _drop_asked(session)
    while (gone := undisturbed(lambda: _erase_some(engine, who, hot, embedder))) is not None:
        done += gone
    with opened(engine, who) as session:
        _drop_asked(session)
        scopes = session.execute("erase_scopes", {"tenant": who.tenant})
        if done or scopes:
            session.audit("memory-erased", json.dumps({"memories": done, "scopes": scopes, "reason": reason}))
    return done


def _drop_asked(session: Session) -> None:
    """What models were asked for, with its jobs."""
    if keyrows.there(session):
        keyrows.lock(session)
        # Keys themselves go with their memories.
        keyrows.end_jobs(session, None, "the tenant is erased")
    if there(session):
        drop_all(session)


def _erase_some(engine: Engine, who: As, hot: Hot, embedder: CachedEmbedder) -> int | None:
    """How many memories went; None when there is nothing left."""
    with opened(engine, who) as session:
        asked = {"tenant": who.tenant}
        found: dict[UUID, str | None] = {}
        segments = session.rows("erase_segment", asked)
        for segment in segments:
            try:
                found |= unpack(bytes(segment.body), bytes(segment.checksum))
            except SegmentDamaged:
                # What nobody can read goes all the same; vectors of it leave the cache by themselves.
                inside = {**asked, "scope": segment.scope, "segment": segment.id}
                found |= {row.id: None for row in session.rows("in_segment", inside)}
        if not segments:
            found = {row.id: row.text for row in session.rows("erase_next", asked)}
            if not found:
                return None
        gone = [row.id for row in session.rows("erase_rows", {**asked, "ids": list(found)})]
        _clear_caches(hot, embedder, gone, [text for text in found.values() if text is not None])
        return len(gone)


def _clear_caches(hot: Hot, embedder: CachedEmbedder, ids: Sequence[UUID], texts: Sequence[str]) -> None:
    hot.forget(ids)
    embedder.forget(texts)
