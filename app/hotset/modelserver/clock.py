"""Model time and wall time: a scale of 0.05 makes a load of 5 model seconds last 0.25 s."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`scale` = wall seconds ÷ model seconds. 0: loads and runs take no time, and times are given in wall seconds."""

    scale: float

    def wall(self, model_s: float) -> float:
        """How long something that takes `model_s` lasts here."""
        return model_s * self.scale

    def waited(self, model_s: float) -> float:
        """The same for waits that must not vanish at scale 0: a keep_alive."""
        return model_s * (self.scale or 1.0)

    def model(self, wall_s: float) -> float:
        return wall_s / (self.scale or 1.0)


async def sleep_until(when: float) -> None:
    """Until `time.monotonic()` says `when`; does not even yield if that has passed. Good to about a millisecond."""
    left = when - time.monotonic()
    if left > 0:
        await asyncio.sleep(left)
