"""Events of a running job, as its owner reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """`started` (a new attempt: what was said before is void when `restarted`), `tokens`, or `ended` with the state."""

    kind: Literal["started", "tokens", "ended"]
    text: str = ""
    thinking: str = ""
    attempt: int = 0
    restarted: bool = False
    state: str | None = None
