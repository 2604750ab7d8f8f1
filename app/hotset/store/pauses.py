"""Queues and GPUs that an operator has paused: rows in Postgres, so that no restart and no flush forgets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Engine

from hotset.store.engine import rows

Kind = Literal["queue", "gpu"]


@dataclass(frozen=True, slots=True)
class Pause:
    """`by` paused it `since` then."""

    kind: Kind
    name: str
    since: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The names that are paused: of a queue nothing starts, on a GPU nothing starts and nothing is loaded."""

    queues: frozenset[str] = frozenset()
    gpus: frozenset[str] = frozenset()


def names(pauses: Iterable[Pause]) -> Paused:
    found = list(pauses)
    return Paused(
        frozenset(p.name for p in found if p.kind == "queue"), frozenset(p.name for p in found if p.kind == "gpu")
    )


def read(engine: Engine) -> list[Pause]:
    """All pauses, the oldest first."""
    return [Pause(r.kind, r.name, r.since, r.by, r.reason) for r in rows(engine, "pauses", {})]


def pause(engine: Engine, kind: Kind, name: str, *, tenant: str, actor: str, reason: str = "") -> bool:
    """False: it was paused already; the first one's reason stays. Audited for `tenant`, whose operator it is."""
    asked = {"kind": kind, "name": name, "tenant": tenant, "actor": actor, "reason": reason}
    return bool(rows(engine, "pause", asked))


def resume(engine: Engine, kind: Kind, name: str, *, tenant: str, actor: str) -> bool:
    """False: it was not paused."""
    return bool(rows(engine, "resume", {"kind": kind, "name": name, "tenant": tenant, "actor": actor}))
