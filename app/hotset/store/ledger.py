"""The swap ledger, what the slots did, and how far forecasts were off. Durations are model seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from hotset.store.engine import execute, rows

#: Swaps and slot seconds are kept for so many days.
KEEP_DAYS = 90


@dataclass(frozen=True, slots=True)
class Swap:
    """One load that was decided. `drain_s`: until the victims were idle; `load_s`: until the model was there, evictions
    included. `ok` is None while it is under way. `jobs_served` by the model until `left_at`, when it was gone.
    `idle_slot_s`: slot seconds that stood still for it."""

    id: UUID
    gpu: str
    worker: str
    decided_at: datetime
    reason: str
    model: str
    victims: tuple[str, ...] = ()
    drain_s: float | None = None
    load_s: float | None = None
    ended_at: datetime | None = None
    ok: bool | None = None
    error: str | None = None
    jobs_served: int = 0
    left_at: datetime | None = None
    idle_slot_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Slots:
    """Slot seconds while there was work, waiting or running. Busy with a request, or free: for a load, for a drain, or
    for neither (`idle`)."""

    busy: float = 0.0
    loading: float = 0.0
    draining: float = 0.0
    idle: float = 0.0

    def __add__(self, other: Slots) -> Slots:
        return Slots(
            self.busy + other.busy,
            self.loading + other.loading,
            self.draining + other.draining,
            self.idle + other.idle,
        )

    @property
    def total(self) -> float:
        return self.busy + self.loading + self.draining + self.idle

    def shares(self) -> dict[str, float | None]:
        """Goodput, and the distance to a GPU of unlimited VRAM: that one never loads and never drains, so the distance
        is the part that these two took. None while there was no work."""
        whole = self.total

        def part(seconds: float) -> float | None:
            return seconds / whole if whole > 0 else None

        return {
            "goodput": part(self.busy),
            "load_share": part(self.loading),
            "drain_share": part(self.draining),
            "distance_to_unlimited": part(self.loading + self.draining),
        }


@dataclass(frozen=True, slots=True)
class Day:
    """`slots` is None when the day's are not known, or not asked for (they are not kept by model)."""

    day: date
    swaps: int
    failed: int
    jobs: int
    load_s: float
    drain_s: float
    slots: Slots | None


@dataclass(frozen=True, slots=True)
class Miss:
    """One forecast that came true: `error_s` is the true start minus the forecast one, made `ahead_s` before."""

    queue: str
    error_s: float
    ahead_s: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of `n` forecasts of one queue. `bias_s` above zero: jobs started later than was said."""

    queue: str
    n: int
    mean_abs_s: float
    bias_s: float
    mean_ahead_s: float


def write_swaps(engine: Engine, swaps: Iterable[Swap]) -> None:
    found = [asdict(swap) for swap in swaps]
    if found:
        execute(engine, "swaps_write", {"rows": json.dumps(found, default=_plain)})


def open_swaps(engine: Engine, gpu: str) -> list[Swap]:
    """Those of a GPU whose model was there, or on its way, when a worker last wrote; the newest first."""
    return [_swap(r) for r in rows(engine, "swaps_open", {"gpu": gpu})]


def swaps(
    engine: Engine,
    *,
    gpu: str | None = None,
    model: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> list[Swap]:
    """The newest that match."""
    asked = {"gpu": gpu, "model": model, "since": since, "limit": limit}
    return [_swap(r) for r in rows(engine, "swaps_list", asked)]


def days(
    engine: Engine, *, gpu: str | None = None, model: str | None = None, since: datetime | None = None
) -> list[Day]:
    """By day (UTC), the newest first."""
    return [
        Day(
            r.day,
            r.swaps,
            r.failed,
            int(r.jobs),
            r.load_s or 0.0,
            r.drain_s or 0.0,
            None if r.busy is None else Slots(r.busy, r.loading, r.draining, r.idle),
        )
        for r in rows(engine, "swaps_days", {"gpu": gpu, "model": model, "since": since})
    ]


def add_slots(engine: Engine, gpu: str, slots: Slots) -> None:
    execute(engine, "slots_write", {"gpu": gpu, **asdict(slots)})


def slots_lately(engine: Engine, *, within_s: float = 3600.0) -> dict[str, Slots]:
    """By GPU, over the last so many wall seconds."""
    found = rows(engine, "slots_lately", {"within_s": within_s})
    return {r.gpu: Slots(r.busy, r.loading, r.draining, r.idle) for r in found}


def forecasts_due(engine: Engine, ids: Sequence[UUID]) -> dict[UUID, tuple[str, int, float | None]]:
    """(state, attempt, start of the last attempt in epoch seconds) of the jobs that there are."""
    return {r.id: (r.state, r.attempt, r.started) for r in rows(engine, "forecasts_settle", {"ids": list(ids)})}


def add_misses(engine: Engine, misses: Iterable[Miss]) -> None:
    found = [asdict(miss) for miss in misses]
    if found:
        execute(engine, "forecasts_write", {"rows": json.dumps(found)})


def accuracy(engine: Engine, *, within_s: float = 86_400.0) -> list[Accuracy]:
    """By queue, over the last so many wall seconds (a day)."""
    return [
        Accuracy(r.queue, r.n, r.abs_s / r.n, r.error_s / r.n, r.ahead_s / r.n)
        for r in rows(engine, "forecasts_read", {"within_s": within_s})
    ]


def trim(engine: Engine, *, keep_days: int = KEEP_DAYS) -> None:
    execute(engine, "ledger_trim", {"days": keep_days})


def _swap(row: Any) -> Swap:
    values = {f.name: getattr(row, f.name) for f in fields(Swap)}
    return Swap(**{**values, "victims": tuple(values["victims"])})


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
