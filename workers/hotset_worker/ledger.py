"""The swap ledger of one GPU, and what its slots do: told by the owner, written by the upkeep's thread.

The owner never waits for Postgres: what it tells is kept here as whole rows, and each write sends those that changed.
A worker that is killed loses what it has not written, a second or two.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset.store import ledger
from hotset.store.ledger import Slots, Swap

log = logging.getLogger(__name__)

#: Wall seconds between writes of swaps, and of slot seconds.
WRITE_S = 0.5
WRITE_SLOTS_S = 3.0
#: Rows that wait for a database that is away; more are dropped, the oldest first, and that is said.
_MOST_WAITING = 10_000
_LONGEST_TEXT = 2000


class Ledger:
    """`decided`, `draining_over`, `ended`, `served`, `there` and `passed` come from the owner, in its order."""

    def __init__(self, gpu: str, worker: str) -> None:
        self._gpu = gpu
        self._worker = worker
        self._lock = threading.Lock()
        #: The swap under way, and the models that are there, each with the row of the load that brought it.
        self._current: Swap | None = None
        self._drained_at = _now()
        self._open: dict[str, Swap] = {}
        self._there: frozenset[str] | None = None
        self._dirty: dict[UUID, Swap] = {}
        self._slots = Slots()
        self._adopted = False
        #: Served before it was known in whose rows: what the worker before left is read from Postgres first.
        self._early: Counter[str] = Counter()

    # ---- what the owner tells --------------------------------------------------------------------------------

    def decided(self, model: str, victims: tuple[str, ...], reason: str) -> None:
        """A load was decided; its victims drain from now on."""
        with self._lock:
            self._current = Swap(uuid7(), self._gpu, self._worker, _now(), reason[:_LONGEST_TEXT], model, victims)
            self._keep(self._current)

    def draining_over(self, drain_s: float) -> None:
        """Its victims are idle: evictions and the load begin."""
        with self._lock:
            self._drained_at = _now()
            if self._current is not None:
                self._current = replace(self._current, drain_s=drain_s)
                self._keep(self._current)

    def ended(self, load_s: float, error: str | None) -> None:
        """The load has ended, or failed."""
        with self._lock:
            swap, self._current = self._current, None
            if swap is None:
                return
            said = None if error is None else error[:_LONGEST_TEXT]
            now = _now()
            swap = replace(swap, load_s=load_s, ended_at=now, ok=error is None, error=said)
            if error is not None:
                swap = replace(swap, left_at=now)  # what never came is gone
            else:
                for gone in (*swap.victims, swap.model):
                    self._leave(gone, self._drained_at)
                self._open[swap.model] = swap
            self._keep(swap)

    def served(self, model: str) -> None:
        """A job has succeeded on that model."""
        with self._lock:
            swap = self._open.get(model)
            if swap is not None:
                self._open[model] = swap = replace(swap, jobs_served=swap.jobs_served + 1)
                self._keep(swap)
            elif not self._adopted:
                self._early[model] += 1

    def there(self, models: Collection[str]) -> None:
        """The models that are resident now: what is not among them has left, whoever evicted it."""
        with self._lock:
            self._there = frozenset(models)
            now = _now()
            for model in [m for m in self._open if m not in self._there]:
                self._leave(model, now)

    def passed(self, seconds: float, *, busy: int, free: int, switching: str | None, work: bool) -> None:
        """So many model seconds went by with that many slots busy and free. `switching`: drain, load or None; `work`:
        there was a job, waiting or running, on this GPU or for it."""
        if not work:
            return
        taken, left = busy * seconds, free * seconds
        with self._lock:
            match switching:
                case "load":
                    self._slots += Slots(taken, left)
                case "drain":
                    self._slots += Slots(taken, 0.0, left)
                case _:
                    self._slots += Slots(taken, 0.0, 0.0, left)
            if switching is not None and self._current is not None:
                self._current = replace(self._current, idle_slot_s=self._current.idle_slot_s + left)

    def _leave(self, model: str, now: datetime) -> None:
        swap = self._open.pop(model, None)
        if swap is not None:
            self._keep(replace(swap, left_at=now))

    def _keep(self, swap: Swap) -> None:
        if swap.id not in self._dirty and len(self._dirty) >= _MOST_WAITING:
            self._dirty.pop(next(iter(self._dirty)))
            log.warning("GPU %s: a swap is missing in the ledger, the database has been away for too long.", self._gpu)
        self._dirty[swap.id] = swap

    # ---- what the upkeep writes ------------------------------------------------------------------------------

    def write(self, engine: Engine) -> None:
        """The rows that have changed. The first time, those that the worker before left open are taken over."""
        if not self._adopted:
            self._adopt(ledger.open_swaps(engine, self._gpu))
        with self._lock:
            changed, self._dirty = self._dirty, {}
        try:
            ledger.write_swaps(engine, changed.values())
        except Exception:
            with self._lock:
                self._dirty = {**changed, **self._dirty}
            raise

    def write_slots(self, engine: Engine) -> None:
        with self._lock:
            slots, self._slots = self._slots, Slots()
        if not slots.total:
            return
        try:
            ledger.add_slots(engine, self._gpu, slots)
        except Exception:
            with self._lock:
                self._slots += slots
            raise

    def _adopt(self, found: list[Swap]) -> None:
        """A model that is still there goes on in the row of its load; the others left while nobody looked."""
        with self._lock:
            if self._there is None:
                return  # the model server has not answered yet
            self._adopted = True
            now = _now()
            for swap in found:
                if swap.worker == self._worker:
                    continue  # written by this one before it could ask
                if swap.ok is None:
                    self._keep(replace(swap, ok=False, ended_at=now, left_at=now, error="Its worker died."))
                elif swap.model in self._there and swap.model not in self._open:
                    early = self._early.pop(swap.model, 0)
                    self._open[swap.model] = taken = replace(swap, jobs_served=swap.jobs_served + early)
                    if early:
                        self._keep(taken)
                else:
                    self._keep(replace(swap, left_at=now))


def _now() -> datetime:
    return datetime.now(UTC)
