"""Forgetting: a memory goes from every tier, cache and segment; what it had closed is open again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from hotset.embedder import CachedEmbedder
from hotset.memory.session import Session
from hotset.memory.tiers import Hot, read_texts, take_out
from hotset.memory.words import mask, names


def forget(session: Session, ids: Sequence[UUID], hot: Hot, embedder: CachedEmbedder, reason: str) -> list[UUID]:
    """Those that were there, with the other parts of their texts. Inside one transaction: segments are written anew,
    then rows go. Raises redis.RedisError before anything commits when the caches cannot be cleared."""
    scopes = [row.scope for row in session.rows("scopes_of", {"tenant": session.who.tenant})]
    rows = session.rows("get", {"tenant": session.who.tenant, "ids": list(ids), "scopes": scopes})
    if not rows:
        return []
    texts = [text for text, _ in read_texts(session, Hot(None), rows).values()]
    by_segment: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        if row.segment is not None:
            by_segment[row.segment].append(row.id)
    if by_segment:
        take_out(session, by_segment)
    found = [row.id for row in rows]
    session.rows("forget", {"tenant": session.who.tenant, "ids": found})
    session.audit("memory-forgotten", json.dumps({"ids": [str(i) for i in found], "reason": reason}))
    hot.forget(found)
    embedder.forget([*texts, *(mask(text, names(text)) for text in texts)])
    return found
