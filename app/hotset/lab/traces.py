"""Live traces and their figures: what happened, counted on the model server's side, in model seconds.

The same arithmetic for a live trace and for the simulator's, so that the two can be set side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from hotset.fleet import Fleet
from hotset.lab.figures import percentile

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job of a bench, as its arm named it in the trace. `at`: when it was handed over."""

    job: str
    queue: str
    at: datetime


def live_trace(log: Path, arrivals: Iterable[Arrival], *, scale: float) -> list[Event]:
    """The log of a model server with the arrivals in it; `t` counts from the first event.

    The server's own clock gives the distances, the time of day of its first event their place.
    """
    seen: list[dict[str, Any]] = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    if not seen:
        return []
    began = datetime.fromisoformat(seen[0]["at"])
    events: list[dict[str, Any]] = [
        {"t": (a.at - began).total_seconds() / scale, "event": "arrive", "job": a.job, "queue": a.queue}
        for a in arrivals
    ]
    events += seen
    events.sort(key=lambda event: event["t"])
    zero = events[0]["t"]
    return [{**event, "t": event["t"] - zero} for event in events]


def figures(events: Sequence[Event], fleet: Fleet) -> dict[str, float]:
    """The figures of `hotset bench live`. A job waits until its last start: what was begun in vain helped nobody."""
    queues = {e["job"]: e["queue"] for e in events if e["event"] == "arrive"}
    arrived = {e["job"]: e["t"] for e in events if e["event"] == "arrive"}
    started = {e["job"]: e["t"] for e in events if e["event"] == "start"}
    finished = {e["job"]: e["t"] for e in events if e["event"] == "finish" and e["outcome"] == "succeeded"}
    waits = {job: started[job] - arrived[job] for job in finished}
    makespan_s = max(finished.values()) - min(arrived.values())
    missed = sum(wait > fleet.queues[queues[job]].deadline_s for job, wait in waits.items())
    return {
        "throughput_per_h": len(finished) * 3600 / makespan_s,
        "goodput": _goodput(events, sum(gpu.slots for gpu in fleet.gpus)),
        "swaps": sum(e["event"] == "loaded" for e in events),
        "wait_s_p50": percentile(list(waits.values()), 0.5),
        "wait_s_p99": percentile(list(waits.values()), 0.99),
        "deadline_missed": missed,
        "makespan_s": makespan_s,
    }


def _goodput(events: Sequence[Event], slots: int) -> float:
    """Slot seconds spent running ÷ slot seconds with work there. More than 1: more ran at once than the slots."""
    open_jobs: set[str] = set()
    running = 0
    last = run_s = work_s = 0.0
    for event in events:
        lasted, last = event["t"] - last, event["t"]
        run_s += running * lasted
        work_s += slots * lasted if open_jobs else 0.0
        match event["event"]:
            case "arrive":
                open_jobs.add(event["job"])
            case "start":
                running += 1
            case "finish":
                running -= 1
                if event["outcome"] == "succeeded":
                    open_jobs.discard(event["job"])
    return run_s / work_s if work_s else 0.0


def added_s(events: Sequence[Event], run_s: Mapping[str, float]) -> float:
    """What a start costs live beyond the run itself, as a median: model seconds from a finish to the start that takes
    its slot (nothing happened between the two), and what a run lasted longer than it was to. `run_s`: of each job."""
    refills: list[float] = []
    longer: list[float] = []
    started: dict[str, float] = {}
    for before, event in zip([{"event": ""}, *events], events, strict=False):
        if event["event"] == "start":
            started[event["job"]] = event["t"]
            if before["event"] == "finish":
                refills.append(event["t"] - before["t"])
        elif event["event"] == "finish" and event["job"] in run_s:
            longer.append(event["t"] - started[event["job"]] - run_s[event["job"]])
    return sum(median(values) for values in (refills, longer) if values)
