"""From what happened to a jobs file: arrivals, queues, true run times, so that a simulation can ask "what if"."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hotset.fleet import Fleet
from hotset.store.history import PastJob

#: A run that the clock of the audit cannot tell from nothing.
_SHORTEST_S = 1e-6


class Pseudonyms:
    """Names that tell apart and tell nothing: keyed with a secret that is thrown away, so that no list of known names
    finds them out, and no two exports can be joined."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def __call__(self, kind: str, name: str) -> str:
        digest = hmac.new(self._key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:10]}"


@dataclass(slots=True)
class Exported:
    """What became of the rows, counted while they are read."""

    jobs: int = 0
    unknown_queue: int = 0
    first: datetime | None = None
    last_s: float = 0.0
    missed: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))


def job_rows(
    past: Iterable[PastJob], fleet: Fleet, counted: Exported, pseudonyms: Pseudonyms | None = None
) -> Iterator[dict[str, Any]]:
    """Lines of a jobs file, with `waited_s` beside it: how long the job really waited.

    `run_s` is at speed 1: the seconds of all attempts × the speed of the GPU that each ran on, where the fleet knows
    it by the worker's name. Jobs of queues that the fleet does not have are left out, and counted.
    """
    speeds = {gpu.name: gpu.speed for gpu in fleet.gpus}
    for job in past:
        if job.queue not in fleet.queues:
            counted.unknown_queue += 1
            continue
        if counted.first is None:
            counted.first = job.came_at
        arrive_s = (job.came_at - counted.first).total_seconds()
        run_s = sum(seconds * speeds.get(worker.partition("@")[0], 1.0) for worker, seconds in job.runs)
        counted.jobs += 1
        counted.last_s = arrive_s
        counted.missed += job.waited_s > job.deadline_s
        counted.waits.append(job.waited_s)
        yield {
            "id": f"j{counted.jobs:06d}" if pseudonyms else str(job.id),
            "arrive_s": round(arrive_s, 6),
            "queue": job.queue,
            "agent": pseudonyms("agent", job.agent) if pseudonyms else job.agent,
            "run_s": max(_SHORTEST_S, round(run_s, 6)),
            "priority": job.priority.label,
            "deadline_s": max(0.0, round(job.deadline_s, 6)),
            "tenant": pseudonyms("tenant", job.tenant) if pseudonyms else job.tenant,
            "waited_s": round(job.waited_s, 6),
        }
