"""Where GPUs say what they hold: one key per GPU, gone 5 s after its worker fell silent.

hs:gpu:{name}   JSON, expires: what `GpuState` says
hs:gpus         set of names ever seen
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import redis

log = logging.getLogger(__name__)

KEEP_S = 5


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
    #: Models that are loaded and generate nothing -> what their probe found.
    unhealthy: Mapping[str, str] = field(default_factory=dict)


class Board:
    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def say(self, state: GpuState) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"hs:gpu:{state.name}", json.dumps(asdict(state)), ex=KEEP_S)
        pipe.sadd("hs:gpus", state.name)
        pipe.execute()

    def leave(self, name: str) -> None:
        self._redis.delete(f"hs:gpu:{name}")

    def read(self) -> dict[str, GpuState]:
        """The GPUs whose workers are alive."""
        names = sorted(cast(set[str], self._redis.smembers("hs:gpus")))
        if not names:
            return {}
        found = cast(list[str | None], self._redis.mget([f"hs:gpu:{n}" for n in names]))
        said = ((name, _read(raw)) for name, raw in zip(names, found, strict=True) if raw is not None)
        return {name: state for name, state in said if state is not None}


def _read(raw: str) -> GpuState | None:
    """None for what no worker of ours says: one bad entry must not hide, or stop, the other GPUs."""
    try:
        return _state(json.loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        log.warning("An entry of the board is not understood (%s); it is left out.", type(e).__name__)
        return None


def _state(raw: dict[str, Any]) -> GpuState:
    residents = {model: (float(mb), int(running)) for model, (mb, running) in raw["residents"].items()}
    # A newer worker may say more than we know.
    known = {f.name: raw[f.name] for f in fields(GpuState) if f.name in raw}
    return GpuState(**{**known, "residents": residents, "victims": tuple(raw["victims"])})
