"""Jobs files: JSON Lines, one job a line, in order of arrival (times in model seconds)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotset.errors import InvalidJob, did_you_mean
from hotset.fleet import Fleet
from hotset.jobs import Priority


@dataclass(frozen=True, slots=True)
class SimJob:
    """One line of a jobs file. `run_s` is the true service time at speed 1: the world knows it, the policy does not.

    `deadline_s` counts from arrival to the start of the run.
    """

    id: str
    arrive_s: float
    queue: str
    run_s: float
    deadline_s: float
    agent: str = ""
    priority: str = "normal"
    tenant: str = "default"

    @property
    def deadline(self) -> float:
        """The moment at which the run should have started."""
        return self.arrive_s + self.deadline_s


def read_jobs(path: str | Path, fleet: Fleet) -> tuple[SimJob, ...]:
    """The jobs of a file, in order of arrival (equal arrivals: in the file's order).

    Raises InvalidJob with file and line for a line that is not a job, an unknown queue or priority, a time that is
    not a finite number, or an id used twice. OSError if the file cannot be read.
    """
    path = Path(path)
    with path.open(encoding="utf-8", errors="replace") as lines:
        return parse_jobs(lines, fleet, path.name)


def parse_jobs(lines: Iterable[str], fleet: Fleet, name: str = "jobs") -> tuple[SimJob, ...]:
    """As `read_jobs`, from lines of text; `name` stands for the file in errors."""
    jobs = list(_jobs(lines, fleet, name))
    jobs.sort(key=lambda job: job.arrive_s)
    return tuple(jobs)


def _jobs(lines: Iterable[str], fleet: Fleet, name: str) -> Iterator[SimJob]:
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _Row(f"{name}:{number}", _object(line, f"{name}:{number}"))
        job = row.job(fleet)
        before = first_line.setdefault(job.id, number)
        if before != number:
            raise row.error(f"the id {job.id!r} was used on line {before} already", "Give each job its own id.")
        yield job


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidJob(f"{where}: not JSON: {error}.", remedy="Write one JSON object a line.") from None
    if not isinstance(value, dict):
        raise InvalidJob(f"{where}: a {type(value).__name__} is no job.", remedy="Write one JSON object a line.")
    return value


class _Row:
    """The checks of one line, with its place for the errors."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self.where = where
        self.values = values

    def error(self, what: str, fix: str) -> InvalidJob:
        return InvalidJob(f"{self.where}: {what}.", remedy=fix)

    def job(self, fleet: Fleet) -> SimJob:
        name = self.text("queue")
        queue = fleet.queues.get(name)
        if queue is None:
            known = f"The fleet has the queues {', '.join(fleet.queues)}."
            raise self.error(f"there is no queue {name!r}", f"{_near(name, fleet.queues)}{known}")
        priority = self.text("priority", "normal")
        if priority not in LANES:
            raise self.error(f"priority {priority!r} is unknown", f"Choose one of {', '.join(LANES)}.")
        return SimJob(
            id=self.text("id"),
            arrive_s=self.seconds("arrive_s"),
            queue=name,
            run_s=self.seconds("run_s", above_zero=True),
            deadline_s=self.seconds("deadline_s", default=queue.deadline_s),
            agent=self.text("agent", ""),
            priority=priority,
            tenant=self.text("tenant", "default"),
        )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(f"{key!r} is missing", f'Add "{key}": "..." to the line.')
        if not isinstance(value, str) or (not value and default is None):
            raise self.error(f"{key!r} is {value!r}", f'Give {key!r} as text: "{key}": "...".')
        return value

    def seconds(self, key: str, *, default: float | None = None, above_zero: bool = False) -> float:
        value = self.values.get(key, default)
        if value is None:
            raise self.error(f"{key!r} is missing", f'Add "{key}" in model seconds, such as "{key}": 12.5.')
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < 0 or (above_zero and value == 0):
            bound = "above zero" if above_zero else "of zero or more"
            raise self.error(f"{key!r} is {value!r}", f"Give {key!r} as a number of model seconds {bound}.")
        return float(value)


def _near(name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, known, "")
    return f"{hint} " if hint.startswith("Did") else ""


#: Lanes of a queue, by priority: the name as in files, the number as in the policy's snapshot.
LANES: dict[str, int] = {p.name.lower(): int(p) for p in Priority}
