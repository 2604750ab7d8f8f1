"""What the owner of a GPU is told. Its mailbox takes these from any thread."""

from __future__ import annotations

from dataclasses import dataclass

from hotset.broker import GrantEvent
from hotset.errors import HotsetError
from hotset.models import Loaded
from hotset_worker.health import Examined, Probed, Silent


@dataclass(frozen=True, slots=True)
class Woken:
    """There may be new work."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """The model's stream of a claim has closed; it ran for that many model seconds (None: it failed)."""

    claim: str
    queue: str
    run_s: float | None
    agent: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model server lists, asked for at `sequence`."""

    loaded: tuple[Loaded, ...]
    sequence: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Switched:
    """The evictions and the load of a switch came to an end. `error`: why not."""

    model: str
    error: HotsetError | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Grant nothing more."""


Event = GrantEvent | Woken | Inferred | Seen | Switched | Silent | Probed | Examined | Stop
