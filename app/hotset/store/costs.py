"""What was learned of loads, runs, tokens and sizes: a row per figure and GPU, written by that GPU's worker.

No two GPUs write one row, so nothing is lost when they write at once; whoever reads adds the GPUs up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from hotset.learning import EMPTY, Key, Sketch
from hotset.learning.sketch import sketch_of
from hotset.store.engine import execute, rows


@dataclass(frozen=True, slots=True)
class Cost:
    key: Key
    gpu: str
    sketch: Sketch


@dataclass(frozen=True, slots=True)
class Read:
    """`until` is the time to read on from: rows of that very moment come twice, none is left out."""

    costs: tuple[Cost, ...]
    until: datetime | None


def write(engine: Engine, gpu: str, sketches: Mapping[Key, Sketch]) -> None:
    """Write a GPU's figures, in one statement."""
    found = [
        {"kind": key.kind, "name": key.name, "agent": key.agent, "seen": s.count, "sketch": s.as_object()}
        for key, s in sketches.items()
    ]
    if found:
        execute(engine, "costs_write", {"gpu": gpu, "rows": json.dumps(found)})


def read(engine: Engine, *, since: datetime | None = None, agents: bool = True) -> Read:
    """Those that changed since then, of all GPUs; without those of single agents unless `agents`."""
    found = rows(engine, "costs_read", {"since": since, "agents": agents})
    costs = tuple(Cost(Key(r.kind, r.name, r.agent), r.gpu, sketch_of(r.sketch)) for r in found)
    return Read(costs, max((r.updated_at for r in found), default=since))


def by_key(costs: Iterable[Cost]) -> dict[Key, Sketch]:
    """All GPUs added up."""
    found: dict[Key, Sketch] = {}
    for cost in costs:
        found[cost.key] = found.get(cost.key, EMPTY).merge(cost.sketch)
    return found
