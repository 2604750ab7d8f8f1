"""The memory's upkeep, on a thread of its own: it may take seconds, and jobs do not wait for it. Every worker does it;
locked rows are skipped, and each week one of them takes a tenant's restore drill.

A fleet without memory hears nothing of it; what a worker lacks for it (packages, newer tables) it says once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import redis
from sqlalchemy import Engine

from hotset.agents.intake import Intake
from hotset.embedder import CachedEmbedder, shared_embedder
from hotset.errors import EmbedderMissing
from hotset.memory import As, extraction, setup, summaries, upkeep
from hotset.memory.extraction import GATHER_S, Keyer
from hotset.memory.summaries import Summariser
from hotset.memory.tiers import Hot
from hotset.store import JobStore
from hotset.store.engine import connected
from hotset_worker.upkeep.thread import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemoryUpkeep:
    """`cold_s`: wall seconds without use until a memory goes cold.
    `keep_days`: for unimportant episodes; 0: for ever.
    `store`, `intake`: for summaries and keys; `summaries`, `keys`: whether new ones are asked for.
    """

    worker: str
    engine: Engine
    cache: redis.Redis
    cold_s: float
    keep_days: int
    store: JobStore
    intake: Intake
    summaries: bool
    keys: bool
    _said: set[str] = field(default_factory=set)

    def tasks(self) -> list[tuple[float, Task]]:
        """(interval in wall seconds, task)."""
        return [
            (60.0, self.consolidate_memories),
            (60.0, self.keep_summaries),
            (3600.0, self.ask_for_summaries),
            (60.0, self.keep_keys),
            (60.0, self.ask_for_keys),
            (600.0, self.renew_vectors),
            (600.0, self.demote_memories),
            (3600.0, self.forget_old_memories),
            (3600.0, self.drill_segments),
        ]

    def able(self) -> bool:
        """Whether this database has memories, and this worker what it takes to look after them."""
        with connected(self.engine) as connection:
            state = setup.state(connection)
        if state.current is None:
            return False
        if state.missing:
            return self._lacks("The memory's tables are older than this worker: run `hotset migrate`")
        if "zstandard" in setup.packages_lacking():
            return self._lacks("This worker lacks a package for the memory: pip install 'hotset[memory]'")
        return True

    def _lacks(self, what: str) -> bool:
        if what not in self._said:
            self._said.add(what)
            log.warning("%s. Until then others have to do the memory's upkeep.", what)
        return False

    def last_words(self) -> list[Task]:
        return []

    def after_outage(self) -> dict[Task, float]:
        return {}

    def consolidate_memories(self) -> None:
        """Changed facts close old ones, exact duplicates merge, near ones are proposed."""
        for who in self._tenants():
            upkeep.consolidate(self.engine, who)

    def renew_vectors(self) -> None:
        """After an upgrade that brings another encoder: vectors of two cannot be compared."""
        embedder = CachedEmbedder(shared_embedder(), self.cache)
        for who in self._tenants():
            try:
                upkeep.renew_vectors(self.engine, who, embedder, Hot(self.cache))
            except EmbedderMissing as e:
                self._lacks(f"Vectors of another encoder cannot be renewed by this worker: {e}")
                return

    def demote_memories(self) -> None:
        for who in self._tenants():
            upkeep.demote_old(self.engine, who, older_s=self.cold_s)

    def forget_old_memories(self) -> None:
        embedder = CachedEmbedder(shared_embedder(), self.cache)
        for who in self._tenants():
            upkeep.clean(self.engine, who, embedder, Hot(self.cache), keep_days=self.keep_days)

    def drill_segments(self) -> None:
        """A random segment of each tenant, once a week, restored and compared."""
        for who in self._tenants():
            if not self._takes_drill(who.tenant):
                continue
            done = upkeep.drill(self.engine, who)
            if done is not None and done.faults:
                log.error("Restore drill: segment %s of %s has %d faults.", done.segment, done.scope, len(done.faults))

    def keep_summaries(self) -> None:
        """What jobs have answered since becomes memory; also when no new ones are asked for any more."""
        for who in self._tenants():
            try:
                summaries.collect(self._summariser(), who)
            except (EmbedderMissing, ImportError) as e:
                self._lacks(f"Summaries cannot be kept by this worker: {e}")
                return

    def ask_for_summaries(self) -> None:
        """A job for each closed day, week and month of a scope that is due."""
        if not self.summaries:
            return
        if not self._summariser().asker.served():
            self._lacks("The setting memory_summaries is on, and the fleet has no queue of the tier light")
            return
        for who in self._tenants():
            summaries.ask(self._summariser(), who)

    def keep_keys(self) -> None:
        """Subjects and properties that jobs have answered; also when no more are asked for."""
        for who in self._tenants():
            extraction.collect(self._keyer(), who)

    def ask_for_keys(self) -> None:
        """A job for each scope that has statements for one."""
        if not self.keys:
            return
        if not self._keyer().asker.served():
            self._lacks("The setting memory_keys is model, and the fleet has no queue of the tier light")
            return
        for who in self._tenants():
            extraction.ask(self._keyer(), who, gather_s=GATHER_S)

    def _keyer(self) -> Keyer:
        return Keyer(self.store, self.intake)

    def _summariser(self) -> Summariser:
        return Summariser(self.store, self.intake, CachedEmbedder(shared_embedder(), self.cache))

    def _tenants(self) -> list[As]:
        return [As(tenant, actor=self.worker) for tenant in upkeep.tenants(self.engine)] if self.able() else []

    def _takes_drill(self, tenant: str) -> bool:
        query = (
            "UPDATE memory_tenants SET drilled_at = now()"
            " WHERE tenant = %s AND (drilled_at IS NULL OR drilled_at < now() - interval '7 days')"
        )
        with connected(self.engine) as connection:
            return connection.exec_driver_sql(query, (tenant,)).rowcount > 0
