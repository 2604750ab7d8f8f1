"""What the policy answers. A decision is data with its reason; a shell carries it out.

Run    start one job of that lane now: the shell issues one grant
Load   drain and evict the victims, then load the model; ends when the model is resident
GiveUp end a switch that still drains: nobody waits for its model any more
Wait   nothing to do until something happens, or until the time it names
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Which job of a lane a grant takes. `overdue` and `oldest`: the one that waits longest. `savable`: the earliest
#: deadline that has not passed, and if none is left the one that waits longest.
Selector = Literal["overdue", "savable", "oldest"]


@dataclass(frozen=True, slots=True)
class Run:
    gpu: str
    queue: str
    lane: str
    selector: Selector
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    gpu: str
    model: str
    victims: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    gpu: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    gpu: str
    reason: str
    until: float | None = None


Decision = Run | Load | GiveUp | Wait
