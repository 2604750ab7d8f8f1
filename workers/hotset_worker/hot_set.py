"""What one GPU holds and does, as the owner knows it: counters, the switch under way, what the model server says.

Three counters, each with its own end: a grant lives until it is spent or returned, a slot until its claim is
acknowledged, an inference until its stream has closed. A model is idle when it has neither unspent grants nor claims
that have not finished inferring; a slot that a slow database holds does not keep a model from being evicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hotset.broker import Grant
from hotset.fleet import Gpu
from hotset.models import Loaded
from hotset.scheduling import GpuView, Resident, Switch


@dataclass(slots=True)
class Held:
    """A claim: its slot is taken; `inferring` until its stream has closed (true before it has begun, too)."""

    grant: Grant
    inferring: bool = True


class HotSet:
    """Changed by the owner's thread only. Times are model seconds."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.epoch = 0
        self.switch: Switch | None = None
        self.swaps = 0
        self._loaded: dict[str, Loaded] = {}
        self._since: dict[str, float] = {}
        self._granted: Counter[str] = Counter()
        self._alone = 0
        self._held: dict[str, Held] = {}

    # ---- grants and slots ------------------------------------------------------------------------------------

    def granted(self, grant: Grant) -> None:
        self._granted[grant.model] += 1
        self._alone += _suspect(grant)

    def returned(self, grant: Grant) -> None:
        self._granted[grant.model] -= 1
        self._alone -= _suspect(grant)

    def spent(self, grant: Grant, claim: str) -> None:
        """The grant became a claim: the slot stays taken."""
        self.returned(grant)
        self._held[claim] = Held(grant)

    def inferred(self, claim: str) -> None:
        """The stream of that claim has closed, or will never open."""
        if claim in self._held:
            self._held[claim].inferring = False

    def released(self, claim: str) -> None:
        """Idempotent: a claim may be told as released by its acknowledgement and by the end of its run."""
        self._held.pop(claim, None)

    @property
    def busy(self) -> int:
        return sum(self._granted.values()) + len(self._held)

    def running(self, model: str) -> int:
        return self._granted[model] + sum(h.inferring and h.grant.model == model for h in self._held.values())

    def idle(self, models: Iterable[str]) -> bool:
        return not any(self.running(model) for model in models)

    # ---- models ----------------------------------------------------------------------------------------------

    def seen(self, loaded: Iterable[Loaded], now: float) -> None:
        """Believe the model server: what it lists is resident, whoever loaded it."""
        self._loaded = {m.model: m for m in loaded}
        self._since = {m: self._since.get(m, now) for m in self._loaded}

    def begin(self, model: str, victims: tuple[str, ...], now: float) -> None:
        """A switch was decided: unspent grants are void, victims drain."""
        self.epoch += 1
        self.switch = Switch(model=model, victims=victims, since=now)

    def void(self) -> None:
        """Unspent grants are void: what they were for cannot be run now."""
        self.epoch += 1

    def end(self, *, loaded: bool) -> None:
        self.swaps += loaded
        self.switch = None

    def resident(self, model: str) -> bool:
        return model in self._loaded

    @property
    def models(self) -> tuple[Loaded, ...]:
        return tuple(self._loaded.values())

    def view(self) -> GpuView:
        """As the policy sees it."""
        residents = tuple(
            Resident(
                model=m.model,
                size_mb=m.vram_mb or m.size_mb,
                since=self._since[m.model],
                running=self.running(m.model),
            )
            for m in self._loaded.values()
        )
        alone = self._alone > 0 or any(_suspect(h.grant) for h in self._held.values())
        view = GpuView(name=self.gpu.name, vram_mb=self.gpu.vram_mb, slots=self.gpu.slots, speed=self.gpu.speed)
        return replace(view, busy=self.busy, residents=residents, switch=self.switch, alone=alone)


def _suspect(grant: Grant) -> bool:
    return grant.lane == "suspect"
