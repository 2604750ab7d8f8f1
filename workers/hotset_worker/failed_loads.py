"""Models whose last load failed: each rests for twice as long with every failure."""

from __future__ import annotations

import time

_LONGEST_S = 60.0


class FailedLoads:
    """Wall seconds. For one thread."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, int]] = {}

    def failed(self, model: str) -> float:
        """A load of it failed; for how long it rests now."""
        failures = self._until.get(model, (0.0, 0))[1] + 1
        pause = min(2.0**failures, _LONGEST_S)
        self._until[model] = (time.monotonic() + pause, failures)
        return pause

    def loaded(self, model: str) -> None:
        self._until.pop(model, None)

    def rests(self, model: str) -> bool:
        return time.monotonic() < self._until.get(model, (0.0, 0))[0]
