"""Hot, warm, cold: one row a memory, whose state says where its text is.

warm: in the row. cold: in a compressed segment beside it; ids, vectors and words stay, so that a search is the same.
hot: texts of cold memories that were asked for lately, in Redis, checked against the row's digest: it may vanish.
Each change is one transaction, so that a crash leaves what was or what was to be.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import redis
from sqlalchemy import Engine, Row
from uuid_utils.compat import uuid7

from hotset.errors import SegmentDamaged
from hotset.memory.segments import pack, unpack
from hotset.memory.session import As, Session, opened
from hotset.memory.writing import digest

log = logging.getLogger(__name__)

HOT_S, _HOT_JITTER_S = 300, 60
#: A second use within so many seconds brings a text back into its row.
_USES_S = 3600
#: Texts of one segment: some 100 kB, a millisecond to read, and six times smaller than single rows.
SEGMENT_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class Hot:
    """The tier in Redis. Without one, or when it is away, texts come from the segments."""

    cache: redis.Redis | None

    def get(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        if self.cache is None or not ids:
            return {}
        try:
            values = cast(list[bytes | None], self.cache.mget([_key(i) for i in ids]))
        except redis.RedisError as e:
            log.debug("The hot tier does not answer: %s", e)
            return {}
        return {i: v.decode("utf-8", "replace") for i, v in zip(ids, values, strict=True) if v is not None}

    def put(self, texts: Mapping[UUID, str]) -> None:
        if self.cache is None or not texts:
            return
        try:
            with self.cache.pipeline(transaction=False) as pipe:
                for i, text in texts.items():
                    pipe.set(_key(i), text.encode(), ex=HOT_S + random.randrange(_HOT_JITTER_S))
                pipe.execute()
        except redis.RedisError as e:
            log.debug("The hot tier does not answer: %s", e)

    def used_again(self, ids: Sequence[UUID]) -> list[UUID]:
        """Those that were used before, not long ago."""
        if self.cache is None or not ids:
            return []
        try:
            with self.cache.pipeline(transaction=False) as pipe:
                for i in ids:
                    pipe.incr(f"hs:mem:use:{i}")
                    pipe.expire(f"hs:mem:use:{i}", _USES_S)
                counts = pipe.execute()[::2]
        except redis.RedisError as e:
            log.debug("The hot tier does not answer: %s", e)
            return []
        return [i for i, count in zip(ids, counts, strict=True) if count >= 2]

    def forget(self, ids: Sequence[UUID]) -> None:
        """Raises redis.RedisError: what must go must be known to have gone."""
        if self.cache is not None and ids:
            self.cache.delete(*[_key(i) for i in ids], *[f"hs:mem:use:{i}" for i in ids])


def read_texts(session: Session, hot: Hot, rows: Collection[Row[Any]]) -> dict[UUID, tuple[str, str]]:
    """id -> (text, tier it came from), for rows with id, text, segment and digest. Raises SegmentDamaged."""
    found = {row.id: (row.text, "warm") for row in rows if row.text is not None}
    cold = {row.id: row for row in rows if row.text is None}
    for i, text in hot.get([*cold]).items():
        # Redis is nobody's truth: a text that is not the row's is not given.
        if digest(text) == bytes(cold[i].digest):
            found[i] = (text, "hot")
    missing = {row.segment for i, row in cold.items() if i not in found}
    fetched: dict[UUID, str] = {}
    if missing:
        asked = {"tenant": session.who.tenant, "ids": list(missing)}
        for segment in session.rows("segment_get", asked):
            fetched.update(unpack(bytes(segment.body), bytes(segment.checksum)))
    for i, row in cold.items():
        if i in found:
            continue
        if i not in fetched or digest(fetched[i]) != bytes(row.digest):
            raise SegmentDamaged(
                f"Segment {row.segment} lacks memory {i}.", remedy="Restore the database from a backup."
            )
        found[i] = (fetched[i], "cold")
    hot.put({i: fetched[i] for i in cold if i in fetched})
    return found


def demote(engine: Engine, who: As, scope: str, *, older_s: float, limit: int = SEGMENT_TEXTS) -> int:
    """One segment of warm texts that nobody used for so long; how many went cold. The segment is read back before it
    counts."""
    with opened(engine, who) as session:
        asked = {"tenant": who.tenant, "scope": scope, "older_s": older_s, "limit": limit}
        texts = {row.id: row.text for row in session.rows("demotable", asked)}
        if not texts:
            return 0
        body, checksum, size = pack(texts)
        if unpack(body, checksum) != texts:
            raise SegmentDamaged("A segment did not read back as it was written; nothing was changed.")
        segment = uuid7()
        session.execute(
            "segment_put",
            {
                "id": segment,
                "tenant": who.tenant,
                "scope": scope,
                "body": body,
                "checksum": checksum,
                "entries": len(texts),
                "text_bytes": size,
            },
        )
        session.execute("demote", {"segment": segment, "ids": list(texts)})
        return len(texts)


def promote(engine: Engine, who: As, ids: Sequence[UUID]) -> int:
    """Cold memories become warm, and leave their segments; how many."""
    with opened(engine, who) as session:
        found = session.rows("texts", {"tenant": who.tenant, "ids": list(ids)})
        by_segment: dict[UUID, list[UUID]] = defaultdict(list)
        for row in found:
            if row.segment is not None:
                by_segment[row.segment].append(row.id)
        promoted = 0
        for taken in take_out(session, by_segment).values():
            for i, text in taken.items():
                promoted += session.execute("promote", {"id": i, "text": text})
    return promoted


def take_out(session: Session, by_segment: Mapping[UUID, Collection[UUID]]) -> dict[UUID, dict[UUID, str]]:
    """Write segments anew without these ids; the texts that were taken out. The caller changes the rows, in the same
    transaction."""
    taken: dict[UUID, dict[UUID, str]] = {}
    asked = {"tenant": session.who.tenant, "ids": list(by_segment)}
    for row in session.rows("segment_lock", asked):
        texts = unpack(bytes(row.body), bytes(row.checksum))
        taken[row.id] = {i: texts.pop(i) for i in by_segment[row.id] if i in texts}
        if texts:
            body, checksum, size = pack(texts)
            change = {"id": row.id, "body": body, "checksum": checksum, "entries": len(texts), "text_bytes": size}
            session.execute("segment_rewrite", change)
        else:
            session.execute("segment_drop", {"id": row.id})
    return taken


def _key(memory_id: UUID) -> str:
    return f"hs:mem:{memory_id}"
