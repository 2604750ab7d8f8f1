"""A run as pictures need it: filled from the trace, event by event."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stay:
    """A model on a GPU: its load began at `load`, it was there from `loaded` to `end` (None: to the end of the run)."""

    model: str
    load: float
    loaded: float | None = None
    end: float | None = None


@dataclass(slots=True)
class OfQueue:
    """`changes`: moments and +1 or -1 of the number waiting. `arrivals` and `waits`: of each job that started."""

    moments: array[float] = field(default_factory=lambda: array("d"))
    changes: array[int] = field(default_factory=lambda: array("b"))
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    waits: array[float] = field(default_factory=lambda: array("d"))


class Recording:
    """Call it with each event of a trace (formats.md). Memory grows with the jobs: 34 bytes each."""

    def __init__(self) -> None:
        self.queues: dict[str, OfQueue] = {}
        self.stays: dict[str, list[Stay]] = {}
        self.begin: float | None = None
        self.end = 0.0
        self._waiting: dict[str, tuple[float, str]] = {}
        self._running: dict[str, tuple[float, str]] = {}
        self._there: dict[tuple[str, str], Stay] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self.begin is None:
            self.begin = event["t"]
        self.end = event["t"]
        handle = getattr(self, f"_{event['event']}", None)
        if handle is not None:
            handle(event["t"], event)

    def _arrive(self, at: float, event: Mapping[str, Any]) -> None:
        self._waiting[event["job"]] = (at, event["queue"])
        self._count(event["queue"], at, 1)

    def _start(self, at: float, event: Mapping[str, Any]) -> None:
        arrived, queue = self._running[event["job"]] = self._waiting.pop(event["job"])
        self._count(queue, at, -1)
        of_queue = self.queues[queue]
        of_queue.arrivals.append(arrived)
        of_queue.waits.append(at - arrived)

    def _finish(self, at: float, event: Mapping[str, Any]) -> None:
        arrived, queue = self._running.pop(event["job"])
        if event["outcome"] == "retried":  # it will start again, and waits from when it came
            self._waiting[event["job"]] = (arrived, queue)
            self._count(queue, at, 1)

    def _leave(self, at: float, event: Mapping[str, Any]) -> None:
        _, queue = self._waiting.pop(event["job"])
        self._count(queue, at, -1)

    def _load(self, at: float, event: Mapping[str, Any]) -> None:
        place = (event["gpu"], event["model"])
        if place in self._there:  # the GPU went away with all that it held, and came back
            self._there[place].end = at
        stay = self._there[place] = Stay(event["model"], at)
        self.stays.setdefault(event["gpu"], []).append(stay)

    def _loaded(self, at: float, event: Mapping[str, Any]) -> None:
        stay = self._there.get((event["gpu"], event["model"]))
        if stay is not None:
            stay.loaded = at

    def _evict(self, at: float, event: Mapping[str, Any]) -> None:
        stay = self._there.pop((event["gpu"], event["model"]), None)
        if stay is not None:
            stay.end = at

    def _count(self, queue: str, at: float, change: int) -> None:
        of_queue = self.queues.setdefault(queue, OfQueue())
        of_queue.moments.append(at)
        of_queue.changes.append(change)
