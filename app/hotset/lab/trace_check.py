"""Could this trace have happened on these GPUs? A judge that knows the rules of the world and nothing of any policy.

    check_trace(events, fleet).problems    # () of a valid trace

Sorted by `t`. A job starts on a resident model, at most `slots` at a time, once (again only after a run that did not
succeed), and after its arrival where the trace tells arrivals. What is resident or loads fits into the VRAM together,
one load at a time. A model goes only when nothing runs on it.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from hotset.fleet import Fleet, Gpu

Event = Mapping[str, Any]

#: Problems that a report names; one slip may cause thousands.
_NAMED = 100
#: MiB: sums of floats.
_EPSILON_MB = 1e-6


@dataclass(frozen=True, slots=True)
class Problem:
    """`event`: its number in the trace, from 1: the line, of a single file."""

    event: int
    t: float | None
    what: str


@dataclass(frozen=True, slots=True)
class TraceReport:
    """`problems` holds the first hundred of `violations`. `unfinished`: jobs that still run or wait at the end."""

    events: int
    jobs: int
    starts: int
    loads: int
    unfinished: int
    violations: int
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        return self.violations == 0


def check_trace(events: Iterable[Event], fleet: Fleet, *, unlimited: bool = False) -> TraceReport:
    """`unlimited`: VRAM is not counted (a trace of the policy of that name). What is no event is a problem, too."""
    judge = _Judge(fleet, unlimited=unlimited)
    for event in events:
        judge.take(event)
    return judge.report()


def read_traces(paths: Iterable[Path]) -> Iterator[Event]:
    """The events of a trace, or of the traces of several GPUs, merged by their times of day.

    A line that is no object comes as an event `unreadable`. OSError if a file cannot be read.
    """
    files = list(paths)
    if len(files) == 1:
        yield from _lines(files[0])
        return
    first: datetime | None = None
    for at, event in heapq.merge(*(_timed(path) for path in files), key=lambda pair: pair[0]):
        first = first or at
        yield {**event, "t": (at - first).total_seconds()}


def _lines(path: Path) -> Iterator[Event]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                yield _object(line)


def _object(line: str) -> Event:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"event": "unreadable"}


def _timed(path: Path) -> Iterator[tuple[datetime, Event]]:
    """With the time of day of each event; without one it happens with the event before."""
    at = datetime.min.replace(tzinfo=UTC)
    for event in _lines(path):
        try:
            at = datetime.fromisoformat(str(event.get("at"))).astimezone(UTC)
        except ValueError:
            event = {"event": "undated"}
        yield at, event


@dataclass(slots=True)
class _Device:
    gpu: Gpu
    resident: set[str] = field(default_factory=set)
    loading: str | None = None
    running: dict[str, str] = field(default_factory=dict)  # job -> model


class _Judge:
    """After a problem it goes on as if the event had been right, so that one slip is told once."""

    def __init__(self, fleet: Fleet, *, unlimited: bool) -> None:
        self._fleet = fleet
        self._unlimited = unlimited
        self._devices = {gpu.name: _Device(gpu) for gpu in fleet.gpus}
        self._queue_of: dict[str, str] = {}  # of jobs whose arrival was told
        self._gone: dict[str, str] = {}  # job -> outcome of its last run, or of its leaving
        self._told_arrivals = False
        self._events = self._starts = self._loads = self._violations = 0
        self._last_t = -math.inf
        self._t: float | None = None
        self._problems: list[Problem] = []
        self._takes: Mapping[str, Callable[[Event], None]] = {
            "arrive": self._arrive,
            "leave": self._leave,
        }
        self._takes_of_gpu: Mapping[str, Callable[[Event, _Device], None]] = {
            "load": self._load,
            "loaded": self._loaded,
            "evict": self._evict,
            "start": self._start,
            "finish": self._finish,
        }

    def report(self) -> TraceReport:
        running = {job for device in self._devices.values() for job in device.running}
        known = self._queue_of.keys() | self._gone.keys() | running
        return TraceReport(
            events=self._events,
            jobs=len(known),
            starts=self._starts,
            loads=self._loads,
            unfinished=len(known - self._gone.keys()) + len(running & self._gone.keys()),
            violations=self._violations,
            problems=tuple(self._problems),
        )

    def take(self, event: Event) -> None:
        self._events += 1
        self._time(event.get("t"))
        name = str(event.get("event"))
        if name in self._takes:
            self._takes[name](event)
        elif name in self._takes_of_gpu:
            device = self._devices.get(str(event.get("gpu")))
            if device is None:
                self._wrong(f"{name}: the fleet has no GPU {event.get('gpu')!r}")
            else:
                self._takes_of_gpu[name](event, device)
        else:
            self._wrong(f"{name!r} is no event of a trace")

    def _time(self, t: object) -> None:
        self._t = None
        if isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t):
            self._wrong(f"its time is {t!r}")
            return
        self._t = float(t)
        if self._t < self._last_t:
            self._wrong(f"it lies before the event above it ({self._last_t:g} s)")
        self._last_t = self._t

    def _wrong(self, what: str) -> None:
        self._violations += 1
        if len(self._problems) < _NAMED:
            self._problems.append(Problem(self._events, self._t, what))

    # ---- jobs ------------------------------------------------------------------------------------------------

    def _arrive(self, event: Event) -> None:
        job, queue = str(event.get("job")), str(event.get("queue"))
        self._told_arrivals = True
        if job in self._queue_of:
            self._wrong(f"{job} arrives a second time")
        if queue not in self._fleet.queues:
            self._wrong(f"{job} arrives in {queue!r}, which is no queue of the fleet")
        self._queue_of[job] = queue

    def _leave(self, event: Event) -> None:
        job = str(event.get("job"))
        if job not in self._queue_of or any(job in device.running for device in self._devices.values()):
            self._wrong(f"{job} leaves a queue in which it does not wait")
        self._gone[job] = str(event.get("outcome"))

    def _start(self, event: Event, device: _Device) -> None:
        job, model, name = str(event.get("job")), str(event.get("model")), device.gpu.name
        self._starts += 1
        if self._told_arrivals and job not in self._queue_of:
            self._wrong(f"{job} starts and has not arrived")
        queue = self._fleet.queues.get(self._queue_of.get(job, ""))
        if queue is not None and queue.model != model:
            self._wrong(f"{job} of queue {queue.name} starts on {model}")
        if any(job in other.running for other in self._devices.values()):
            self._wrong(f"{job} starts while it runs")
        elif self._gone.get(job) in ("succeeded", "expired"):
            self._wrong(f"{job} starts again after it had {self._gone[job]}")
        if model not in device.resident:
            self._wrong(f"{job} starts on {model}, which is not resident on {name}")
        self._gone.pop(job, None)
        device.running[job] = model
        if len(device.running) > device.gpu.slots:
            self._wrong(f"{len(device.running)} jobs run on {name}, which has {device.gpu.slots} slots")

    def _finish(self, event: Event, device: _Device) -> None:
        job = str(event.get("job"))
        if device.running.pop(job, None) is None:
            self._wrong(f"{job} finishes on {device.gpu.name} and does not run there")
        self._gone[job] = str(event.get("outcome"))

    # ---- models ----------------------------------------------------------------------------------------------

    def _load(self, event: Event, device: _Device) -> None:
        model, name = str(event.get("model")), device.gpu.name
        self._loads += 1
        if device.loading is not None:
            self._wrong(f"{model} is loaded on {name} while {device.loading} loads")
        if model in device.resident:
            self._wrong(f"{model} is loaded on {name}, where it is resident")
        if model not in self._fleet.models:
            self._wrong(f"{model} is no model of the fleet")
        device.loading = model
        held = sum(self._fleet.models[m].size_mb for m in {*device.resident, model} if m in self._fleet.models)
        if not self._unlimited and held > device.gpu.vram_mb + _EPSILON_MB:
            beside = ", ".join(sorted(device.resident)) or "nothing"
            self._wrong(f"{model} beside {beside} takes {held:g} of {device.gpu.vram_mb:g} MiB on {name}")

    def _loaded(self, event: Event, device: _Device) -> None:
        model = str(event.get("model"))
        if device.loading != model:
            self._wrong(f"{model} is loaded on {device.gpu.name}, where no load of it began")
        device.loading = None
        device.resident.add(model)

    def _evict(self, event: Event, device: _Device) -> None:
        model, name = str(event.get("model")), device.gpu.name
        if device.loading == model:  # a load that was broken off
            device.loading = None
            return
        if model not in device.resident:
            self._wrong(f"{model} is evicted from {name}, where it is not resident")
        on_it = [job for job, runs_on in device.running.items() if runs_on == model]
        if on_it:
            self._wrong(f"{model} is evicted from {name} while {', '.join(islice(on_it, 3))} run on it")
        device.resident.discard(model)
