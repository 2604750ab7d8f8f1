"""Where GPUs say what they hold: one entry per GPU, gone 5 s after its worker fell silent. The keys are listed at the
head of `lua/take.lua`. No GPU leads: each reads the others here, and `claims` keeps two from loading the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import redis

from hotset.broker.scripts import lua

log = logging.getLogger(__name__)

KEEP_S = 5.0


@dataclass(frozen=True, slots=True)
class GpuState:
    """`residents`: model -> [MiB, requests on it]. `loading`: the model it drains for or loads."""

    name: str
    worker: str
    vram_mb: float
    slots: int
    speed: float
    busy: int
    residents: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    loading: str | None = None
    victims: tuple[str, ...] = ()
    swaps: int = 0
    simulated: bool = False
    reason: str = ""
    #: Wall seconds per model second, and the hotset, that the worker runs with; not told by old workers.
    scale: float | None = None
    version: str = ""
    epoch: int = 0
    #: Models that are loaded and generate nothing -> what their probe found.
    unhealthy: Mapping[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> tuple[str, ...]:
        """What others may count on: the models that it has and keeps, or loads."""
        return will_hold(self.residents, self.victims, self.loading)


def will_hold(residents: Iterable[str], victims: Iterable[str], loading: str | None) -> tuple[str, ...]:
    """The models on a GPU once the switch under way is over, sorted."""
    return tuple(sorted(set(residents).difference(victims).union([loading] if loading else [])))


class Board:
    def __init__(self, client: redis.Redis, *, keep_s: float = KEEP_S) -> None:
        self._redis = client
        self._keep_ms = round(keep_s * 1000)
        self._say = client.register_script(lua("say"))
        self._leave = client.register_script(lua("leave"))

    def say(self, state: GpuState, *, ended: Iterable[str] = ()) -> str | None:
        """Write the GPU's entry; the other worker if one that lives serves this GPU, and then nothing was written.

        `ended`: models whose load came to an end, well or not; the GPU's claims on them go in the same moment.
        """
        entry = [state.name, state.worker, json.dumps(state.holds), state.loading or ""]
        return cast(str | None, self._say(args=[*entry, json.dumps(asdict(state)), self._keep_ms, *ended]))

    def leave(self, name: str, worker: str, *, claimed: Iterable[str] = ()) -> None:
        """The worker serves the GPU no more. Harmless when another one serves it already."""
        self._leave(args=[name, worker, *claimed])

    def read(self) -> dict[str, GpuState]:
        """The GPUs whose workers are alive."""
        names = sorted(cast(list[str], self._redis.zrange("hs:gpus", 0, -1)))
        if not names:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hget(f"hs:gpu:{name}", "state")
        said = ((n, read_state(raw)) for n, raw in zip(names, pipe.execute(), strict=True) if raw is not None)
        return {name: state for name, state in said if state is not None}


def presence(worker: str) -> str:
    """The channel that a worker listens to for as long as it lives, before it says anything."""
    return f"hs:worker:{worker}"


def read_state(text: str) -> GpuState | None:
    """None for what no worker of ours says: one bad entry must not hide, or stop, the other GPUs."""
    try:
        return _state(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        log.warning("An entry of the board is not understood (%s); it is left out.", type(e).__name__)
        return None


def _state(raw: dict[str, Any]) -> GpuState:
    residents = {model: (float(mb), int(running)) for model, (mb, running) in raw["residents"].items()}
    # A newer worker may say more than we know.
    known = {f.name: raw[f.name] for f in fields(GpuState) if f.name in raw}
    return GpuState(**{**known, "residents": residents, "victims": tuple(raw["victims"])})
