"""A bar on standard error for jobs that end one after the other: how many, how long still, how many swaps meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from hotset.broker import Board

if TYPE_CHECKING:
    from hotset.client.client import Client

_LOOK_S = 1.0

#: (GPU, its worker) -> swaps that this worker has counted.
Swaps = Mapping[tuple[str, str], int]


class SwapCount:
    """The swaps since the first look; a worker that came later has counted from 0."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], int] | None = None
        self._now: dict[tuple[str, str], int] = {}

    def look(self, swaps: Swaps) -> int:
        if self._before is None:
            self._before = dict(swaps)
        self._now |= swaps
        return sum(count - self._before.get(who, 0) for who, count in self._now.items())


class Progress:
    """Shown on a terminal only; costs nothing elsewhere."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._shown = console.is_terminal
        self._swaps = SwapCount()
        self._looked = time.monotonic()
        self._bar = Bar(
            TextColumn("jobs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[swaps]} swaps"),
            console=console,
            # What the caller prints goes where it went before, unless that is the terminal of the bar.
            redirect_stdout=sys.stdout.isatty(),
            disable=not self._shown,
        )
        self._task = self._bar.add_task("jobs", total=total, swaps=0)
        self._bar.start()

    def advance(self) -> None:
        self._bar.advance(self._task)

    def wants_swaps(self) -> bool:
        """Whether it is time to look at the GPUs again."""
        return self._shown and time.monotonic() - self._looked >= _LOOK_S

    def swapped(self, swaps: Swaps) -> None:
        self._looked = time.monotonic()
        self._bar.update(self._task, swaps=self._swaps.look(swaps))

    def close(self) -> None:
        self._bar.stop()


def swaps_now(client: Client) -> Swaps:
    """What the GPUs' workers have counted; nothing while the broker is away."""
    try:
        return {(g.name, g.worker): g.swaps for g in Board(client._lanes.redis).read().values()}
    except redis.RedisError:
        return {}
