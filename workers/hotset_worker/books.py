"""What the owner notes down as it works: costs that were seen, swaps, what the slots did. Nothing here does I/O."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hotset.errors import HotsetError
from hotset.fleet import Fleet, Gpu, Model
from hotset.models import Loaded
from hotset_worker.hot_set import HotSet
from hotset_worker.learning import Learned
from hotset_worker.ledger import Ledger

#: Wall seconds: estimates are worked out anew no more often.
_NEWS_S = 0.05


class Books:
    """Used by the owner's thread only; `learned` and `ledger` are shared with the upkeep."""

    def __init__(self, gpu: Gpu, fleet: Fleet, *, worker: str, scale: float) -> None:
        self.learned = Learned(gpu, fleet)
        self.ledger = Ledger(gpu.name, worker)
        #: Jobs that wait for any GPU of the fleet, as of the last look.
        self.waiting = 0
        self._gpu = gpu
        self._fleet = fleet
        self._scale = scale
        self._version = 0
        self._news_at = float("-inf")
        self._until = self._decided = self._began = time.monotonic()
        self._draining: tuple[str, ...] = ()

    def passed(self, hot: HotSet, *, loading: bool) -> None:
        """Time has gone by since the last call, in which the GPU did what `hot` says. `loading`: the victims of the
        switch are idle."""
        now = time.monotonic()
        seconds, self._until = (now - self._until) / self._scale, now
        busy = min(sum(hot.running(m.model) for m in hot.models), self._gpu.slots)
        switching = None if hot.switch is None else "load" if loading else "drain"
        work = busy > 0 or self.waiting > 0 or switching is not None
        self.ledger.passed(seconds, busy=busy, free=self._gpu.slots - busy, switching=switching, work=work)

    def decided(self, hot: HotSet, model: str, victims: tuple[str, ...], reason: str) -> None:
        """Told before the switch begins."""
        self._decided = self._began = time.monotonic()
        self._draining = tuple(v for v in victims if hot.running(v))
        self.ledger.decided(model, victims, reason)

    def drained(self) -> None:
        """The victims are idle: evictions and the load begin."""
        self._began = time.monotonic()
        seconds = (self._began - self._decided) / self._scale
        self.learned.drained(self._draining, seconds)
        self.ledger.draining_over(seconds)

    def given_up(self, reason: str) -> None:
        """The switch ends while its victims still drain."""
        self.ledger.draining_over((time.monotonic() - self._decided) / self._scale)
        self.ledger.ended(0.0, f"given up: {reason}")

    def loaded(self, model: str, error: HotsetError | None) -> None:
        seconds = (time.monotonic() - self._began) / self._scale
        if error is None:
            self.learned.loaded(model, seconds)
        self.ledger.ended(seconds, None if error is None else str(error))

    def ran(self, queue: str, agent: str, seconds: float, tokens: int) -> None:
        self.learned.ran(queue, agent, seconds, tokens)
        if queue in self._fleet.queues:
            self.ledger.served(self._fleet.queues[queue].model)

    def resident(self, loaded: Iterable[Loaded]) -> None:
        """What the model server lists."""
        found = list(loaded)
        for one in found:
            if one.model in self._fleet.models and one.vram_mb > 0:
                self.learned.measured(one.model, one.vram_mb)
        self.ledger.there([one.model for one in found])

    def news(self) -> tuple[dict[str, Model], dict[str, float]] | None:
        """The models, and the runs of queues, as they are reckoned with from now on; None: go on as before."""
        version, now = self.learned.version, time.monotonic()
        if version == self._version or now - self._news_at < _NEWS_S:
            return None
        self._version, self._news_at = version, now
        learned = self.learned
        models = {
            name: Model(name, learned.size_mb(name), learned.load_s(name), model.tokens_per_s, model.context)
            for name, model in self._fleet.models.items()
        }
        return models, {queue: learned.run_s(queue) for queue in self._fleet.queues}
