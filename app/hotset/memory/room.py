"""The room's door: one object for a tenant (and an agent of it), with everything that can be done to its memories."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import Engine

from hotset.embedder import CachedEmbedder, shared_embedder
from hotset.errors import EmbedderMissing, InvalidMemory, StoreUnavailable, Unavailable, UnknownMemory
from hotset.memory import keyrows, links, searching, sharing, writing
from hotset.memory.chunks import Chunking
from hotset.memory.forgetting import erase_all, forget
from hotset.memory.records import Memory, New, Wanted
from hotset.memory.session import As, opened
from hotset.memory.tiers import Hot, promote, read_texts
from hotset.turns import NoTurn, Turns

log = logging.getLogger(__name__)

#: Rows of one transaction of `remember_many`.
_CHUNK = 500
#: So many searches of a process are under way, from the question's vector to the answers; the others wait for a turn,
#: as long as for a connection (wall seconds). Begun all at once they would take each other's cores away, and all would
#: end late. Beyond four a process computes no more of them, and its pool keeps no more connections.
_SEARCHES, _WAIT_S = 4, 10.0


@contextmanager
def _packages_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as e:
        raise EmbedderMissing(f"The package {e.name} is not installed.") from e


class MemoryRoom:
    """Thread-safe. `cache`: the Redis of the hot tier and of vectors; without one it works, slower. `chunking`: where
    long texts are cut."""

    def __init__(
        self,
        engine: Engine,
        cache: redis.Redis | None,
        *,
        embedder: CachedEmbedder | None = None,
        chunking: Chunking = "sentences",
    ) -> None:
        self.engine = engine
        self.hot = Hot(cache)
        self.embedder = embedder or CachedEmbedder(shared_embedder(), cache)
        self._sizes = searching.Sizes()
        # One waits for Postgres while the others compute.
        self._turns = Turns(min(_SEARCHES, len(os.sched_getaffinity(0)) + 1), _WAIT_S)
        self._chunking = chunking

    @_packages_needed()
    def remember(self, who: As, scope: str, new: New) -> UUID:
        """Its id (of a long text that of its first part), when it is committed."""
        parts = writing.prepare([new], self.embedder, self._chunking)[0]
        with opened(self.engine, who) as session:
            session.execute("scope", {"tenant": who.tenant, "scope": scope})
            return next(iter([writing.write(session, scope, part) for part in parts]))

    @_packages_needed()
    def remember_many(self, who: As, scope: str, new: Sequence[New]) -> list[UUID]:
        """Many at once, 500 a transaction. What they change of earlier ones is found by the next consolidation."""
        ids: list[UUID] = []
        for start in range(0, len(new), _CHUNK):
            prepared = writing.prepare(new[start : start + _CHUNK], self.embedder, self._chunking)
            with opened(self.engine, who) as session:
                session.execute("scope", {"tenant": who.tenant, "scope": scope})
                for parts in prepared:
                    ids.append(next(iter([writing.write(session, scope, part, settle=False) for part in parts])))
        return ids

    @_packages_needed()
    def search(self, who: As, wanted: Wanted) -> list[Memory]:
        searching.check(wanted)
        try:
            with self._turns.turn():
                return self._search(who, wanted)
        except NoTurn as e:
            raise StoreUnavailable(
                f"This search waited for {_WAIT_S:g} s behind others of this process.",
                remedy="Search less at once, or give Postgres and this process more cores.",
            ) from e

    def _search(self, who: As, wanted: Wanted) -> list[Memory]:
        words, first = searching.doubtful(wanted.query)
        # Outside of any transaction: the encoder takes its time, and connections are few.
        meaning, prop = self.embedder.embed([wanted.query])
        with opened(self.engine, who, plans_kept=True) as session:
            here = searching.known(session, wanted, words, first) if words else frozenset()
            question = searching.understood(wanted, here)
            found = dict(searching.find(session, wanted, question, (meaning[0], prop[0]), self._sizes))
            rows = session.fetch("found", {"tenant": who.tenant, "ids": list(found)}) if found else []
            by_id = {row.id: row for row in rows}
            texts = read_texts(session, self.hot, rows) if wanted.texts else {}
            made_of = links.sources(session, rows)
            answers = [
                searching.memory_of(by_id[i], score, *texts.get(i, ("", by_id[i].state)), sources=made_of)
                for i, score in found.items()
                if i in by_id
            ]
            answers = keyrows.shown(session, answers)
        self._used(who, answers, [row.id for row in rows if row.idle])
        return answers

    def get(self, who: As, memory_id: UUID) -> Memory:
        """Raises UnknownMemory."""
        with opened(self.engine, who) as session:
            rows = session.rows("get", {"tenant": who.tenant, "ids": [memory_id], "scopes": []})
            if not rows:
                raise UnknownMemory(memory_id)
            texts = read_texts(session, self.hot, rows)
            found = searching.memory_of(rows[0], 1.0, *texts[rows[0].id], sources=links.sources(session, rows))
            return keyrows.shown(session, [found])[0]

    def history(self, who: As, scopes: tuple[str, ...], about: str | UUID) -> list[Memory]:
        """What was said of a topic (or of what this memory says), in the order in which it was true."""
        if isinstance(about, UUID):
            ids = [about]
        else:
            found = self.search(who, Wanted(query=about, scopes=scopes, k=1, texts=False))
            ids = [m.id for m in found]
        with opened(self.engine, who) as session:
            rows = session.rows("history", {"tenant": who.tenant, "ids": ids})
            if isinstance(about, UUID) and not rows:
                raise UnknownMemory(about)
            texts = read_texts(session, self.hot, rows)
            made_of = links.sources(session, rows)
            found = [searching.memory_of(row, 1.0, *texts[row.id], sources=made_of) for row in rows]
            return keyrows.shown(session, found)

    def forget(self, who: As, ids: Sequence[UUID], *, reason: str = "forgotten by its owner") -> int:
        """How many rows went. Raises UnknownMemory when none of them is there, Unavailable when a cache is away."""
        if not 0 < len(ids) <= 1000:
            raise InvalidMemory("1 to 1000 memories can be forgotten at once.")
        with _cache_needed(), opened(self.engine, who) as session:
            gone = forget(session, ids, self.hot, self.embedder, reason)
        if not gone:
            raise UnknownMemory(ids[0])
        return len(gone)

    def erase(self, who: As, reason: str | None = None) -> int:
        """All memories of the tenant, with scopes, grants and handoffs; how many. Raises Unavailable as `forget`."""
        with _cache_needed():
            return erase_all(self.engine, who, self.hot, self.embedder, reason)

    def stats(self, who: As) -> dict[str, list[dict[str, Any]]]:
        """Counts by scope, tier and ring; segments by scope; summaries by scope, kind and state; a model's keys by
        scope and state."""
        with opened(self.engine, who) as session:
            asked = {"tenant": who.tenant}
            return {
                "memories": [dict(row._mapping) for row in session.rows("stats", asked)],
                "segments": [dict(row._mapping) for row in session.rows("stats_segments", asked)],
                "summaries": [dict(row._mapping) for row in session.rows("stats_summaries", asked)]
                if links.there(session)
                else [],
                "keys": [dict(row._mapping) for row in session.rows("stats_keys", asked)]
                if keyrows.there(session)
                else [],
            }

    def proposals(self, who: As, scope: str, limit: int = 100) -> list[tuple[UUID, UUID, float]]:
        """Near-duplicates: (older, newer, cosine)."""
        with opened(self.engine, who) as session:
            found = session.rows("proposals", {"tenant": who.tenant, "scope": scope, "limit": limit})
            return [(row.older, row.newer, row.cosine) for row in found]

    def grant(self, who: As, scope: str, agent: str, *, write: bool = False, ttl_s: float | None = None) -> None:
        sharing.grant(self.engine, who, scope, agent, write=write, ttl_s=ttl_s)

    def revoke(self, who: As, scope: str, agent: str) -> bool:
        return sharing.revoke(self.engine, who, scope, agent)

    def hand_off(self, who: As, **said: Any) -> sharing.Handoff:
        return sharing.hand_off(self.engine, who, **said)

    def handoffs(self, who: As, to: str) -> list[sharing.Handoff]:
        return sharing.handoffs(self.engine, who, to)

    def _used(self, who: As, answers: Sequence[Memory], idle: Sequence[UUID]) -> None:
        """Use keeps warm, and a second use soon makes warm again. None of it changes an answer: failures are logged."""
        cold = [m.id for m in answers if m.tier in ("hot", "cold")]
        try:
            if again := self.hot.used_again(cold):
                promote(self.engine, who, again)
            if idle:
                with opened(self.engine, who) as session:
                    session.execute("used", {"ids": list(idle)})
        except Exception as e:
            log.info("Use of %d memories was not noted: %s", len(answers), type(e).__name__)


@contextmanager
def _cache_needed() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as e:
        raise Unavailable(
            f"Nothing more was forgotten: the cache does not answer ({e}), and might keep a trace.",
            remedy="Try again when the cache (HOTSET_CACHE_URL) is back.",
        ) from e
