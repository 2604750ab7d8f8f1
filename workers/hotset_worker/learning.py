"""What this worker has learned of its GPU, and knows from others: kept in memory, in Postgres every few seconds.

The owner observes and asks; neither ever waits. The upkeep's thread reads and writes. Estimates of this GPU come first;
what other GPUs saw (at speed 1) is the guess before it has seen much itself, and the fleet file the guess before that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Engine

from hotset.fleet import Fleet, Gpu
from hotset.learning import EMPTY, KINDS, OTHERS_WORTH, QUEUE_WORTH, Key, Sketch, estimate
from hotset.store import costs
from hotset.store.costs import Cost

log = logging.getLogger(__name__)

#: Figures that one worker tells apart; beyond, the rarest agents count with their queue only.
_MOST = 10_000
#: Wall seconds between looks at what other GPUs learned.
READ_S = 60.0
WRITE_S = 2.0


class Learned:
    """Thread-safe. Seconds and tokens a second are at speed 1, in model seconds."""

    def __init__(self, gpu: Gpu, fleet: Fleet) -> None:
        self._gpu = gpu
        self._fleet = fleet
        self._lock = threading.Lock()
        self._own: dict[Key, Sketch] = {}
        self._others: dict[Key, dict[str, Sketch]] = {}
        self._sizes: dict[str, float] = {}
        self._known: dict[Key, float] = {}
        self._dirty: set[Key] = set()
        self._read_until: datetime | None = None
        self._has_read = False
        #: Changes with every estimate: whoever keeps one asks again when it has moved.
        self.version = 0

    # ---- observing -------------------------------------------------------------------------------------------

    def loaded(self, model: str, seconds: float) -> None:
        """A load took so long on this GPU, evictions included."""
        self._observe(Key("load", model), seconds * self._gpu.speed)

    def drained(self, models: Iterable[str], seconds: float) -> None:
        """The last request on these victims ended so long after the switch was decided."""
        for model in models:
            self._observe(Key("drain", model), seconds * self._gpu.speed)

    def ran(self, queue: str, agent: str, seconds: float, tokens: int) -> None:
        """A run succeeded. What the fleet does not know is not kept."""
        if queue not in self._fleet.queues:
            return
        for name in ("", agent) if agent else ("",):
            self._observe(Key("run", queue, name), seconds * self._gpu.speed)
            if tokens > 0:
                self._observe(Key("tokens", queue, name), tokens)
        if tokens > 0 and seconds > 0:
            self._observe(Key("rate", self._fleet.queues[queue].model), tokens / seconds / self._gpu.speed)

    def measured(self, model: str, size_mb: float) -> None:
        """The model server says that it takes so much VRAM, now."""
        if self._sizes.get(model) != size_mb:
            self._sizes[model] = size_mb
            self._observe(Key("size", model), size_mb)

    def _observe(self, key: Key, value: float) -> None:
        if value <= 0 or (key not in self._own and len(self._own) >= _MOST):
            return
        with self._lock:
            self._own[key] = self._own.get(key, EMPTY).add(value, memory=KINDS[key.kind].memory)
            self._dirty.add(key)
            self._changed(key)

    def _changed(self, key: Key) -> None:
        self._known.pop(key, None)
        self.version += 1

    # ---- asking ----------------------------------------------------------------------------------------------

    def load_s(self, model: str) -> float:
        return self._reckon(Key("load", model), self._fleet.models[model].load_s)

    def drain_s(self, model: str) -> float:
        """Until the last request on it ends, once it gets no more; before that was seen, a run of its longest queue."""
        runs = (self.run_s(q.name) for q in self._fleet.queues.values() if q.model == model)
        return self._reckon(Key("drain", model), max(runs, default=1.0))

    def run_s(self, queue: str) -> float:
        return self._reckon(Key("run", queue), self._fleet.queues[queue].run_s)

    def expected_run_s(self, queue: str, agent: str) -> float:
        """Of one job of that agent; the queue's own as long as the agent is little known."""
        key, guess = Key("run", queue, agent), self.run_s(queue)
        with self._lock:
            seen = self._own.get(key, EMPTY)
            for other in self._others.get(key, {}).values():
                seen = seen.merge(other)
        return estimate(seen, guess, QUEUE_WORTH)

    def size_mb(self, model: str) -> float:
        """As the model server said since this worker started. Before, the larger of what was learned and the fleet
        file: a size that is too small would evict too little."""
        now = self._sizes.get(model)
        if now is not None:
            return min(now, self._gpu.vram_mb)
        stated = self._fleet.models[model].size_mb
        seen = self._own.get(Key("size", model), EMPTY)
        return max(stated, min(seen.last, self._gpu.vram_mb))

    def _reckon(self, key: Key, stated: float) -> float:
        """From the fleet file, drawn to what the others saw, drawn to what was seen here."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                others = EMPTY
                for one in self._others.get(key, {}).values():
                    others = others.merge(one)
                worth = KINDS[key.kind].worth
                guess = estimate(others, stated, worth)
                known = estimate(self._own.get(key, EMPTY), guess, OTHERS_WORTH if others.count else worth)
                if key.kind == "run" or key.kind == "load":
                    self._known[key] = known
            return known

    # ---- keeping ---------------------------------------------------------------------------------------------

    def write(self, engine: Engine) -> None:
        """What has changed since the last time, in one statement; the first time what is there is read before."""
        if not self._has_read:
            self.read(engine)
        with self._lock:
            changed = {key: self._own[key] for key in self._dirty}
            self._dirty.clear()
        try:
            costs.write(engine, self._gpu.name, changed)
        except Exception:
            with self._lock:
                self._dirty |= changed.keys()
            raise

    def read(self, engine: Engine) -> None:
        """What this GPU's worker knew before it started, once, and what other GPUs have learned meanwhile."""
        found = costs.read(engine, since=self._read_until)
        with self._lock:
            for cost in found.costs:
                self._take(cost)
            self._has_read = True
            self._read_until = found.until

    def _take(self, cost: Cost) -> None:
        if cost.gpu != self._gpu.name:
            self._others.setdefault(cost.key, {})[cost.gpu] = cost.sketch
        elif self._has_read:
            return  # our own words
        else:
            self._own[cost.key] = cost.sketch.merge(self._own.get(cost.key, EMPTY))
        self._changed(cost.key)
