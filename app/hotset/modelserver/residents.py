"""A model that is loaded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hotset.modelserver.options import LoadOptions


@dataclass(slots=True, eq=False)
class Resident:
    """Changed by its GPU only. `users` counts requests that run on it or wait for one of its `turns`.

    `vram_mb` < `size_mb`: the rest runs on the CPU. `keep_alive_s` in model seconds (inf: for ever), counted from
    when the last user has left.
    """

    name: str
    size_mb: float
    vram_mb: float
    options: LoadOptions
    context: int
    keep_alive_s: float
    turns: asyncio.Semaphore
    unload_s: float = 0.0  # model seconds from its unload until its VRAM is back
    users: int = 0
    dead: str = ""  # what its process died of
    leaving: str = ""  # why it was chosen as a victim while busy
    timer: asyncio.TimerHandle | None = None

    @property
    def cpu_share(self) -> float:
        """The part of its layers that runs on the CPU, 0 to 1."""
        return 1.0 - self.vram_mb / self.size_mb if self.size_mb else 0.0

    def reload_reason(self, wanted: LoadOptions) -> str:
        """Empty if a request with these options can use it as it is."""
        if self.dead:
            return "its process has died"
        difference = self.options.difference(wanted)
        return f"options differ: {difference}" if difference else ""


def victim(residents: list[Resident]) -> Resident:
    """Whom Ollama evicts: an idle model before a busy one, then the shortest keep_alive, then by name.

    Not the least recently used, and not by size (point 6 of what Ollama does; there the name is the file's path).
    """
    return min(residents, key=lambda r: (r.users > 0, r.keep_alive_s, r.name))
