"""The audit sealed: batches of final rows in a chain of hashes. `docs/audit.md` says what that proves, against whom.

    row    SHA-256 of the row's text (sql/audit_lines.sql)
    batch  rows_hash = SHA-256 of the rows' hashes, joined in the order of (tx, id)
    seal   hash = SHA-256 of the seal's text (Seal.text), in which the hash of the seal before it stands

Sealing is nobody's duty and waits for nobody: rows are sealed some time after they were committed, by the upkeep of
any worker, under one advisory lock. Of rows from several months each month gets a seal of its own, so that a month that
retention drops leaves whole seals.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Engine, Row

from hotset.errors import OutdatedTables
from hotset.store.engine import connected, sql

#: Of the first seal, which follows none.
BEGINNING = bytes(32)
MARK = 8
#: Rows of one batch: its text is some megabytes.
BATCH = 10_000
_LAST_ID = 2**63 - 1
#: Whoever seals holds it to the end of the transaction. The number is arbitrary, and ours.
_LOCK = 0x686F747365616C


@dataclass(frozen=True, slots=True)
class Seal:
    """One batch: `entries` rows of a month in (from, to], places being (tx, id). `hash` is the one that was kept."""

    number: int
    month: date
    from_tx: int
    from_id: int
    to_tx: int
    to_id: int
    entries: int
    first_at: datetime
    last_at: datetime
    rows_hash: bytes
    previous: bytes
    sealed_at: datetime
    sealed_by: str
    hash: bytes = b""

    @property
    def after(self) -> tuple[int, int]:
        return self.from_tx, self.from_id

    @property
    def upto(self) -> tuple[int, int]:
        return self.to_tx, self.to_id

    def fields(self) -> dict[str, Any]:
        """All but its own hash, as JSON has them: times in UTC to the microsecond, hashes in hexadecimal."""
        return {
            "number": self.number,
            "month": self.month.isoformat(),
            "from": [self.from_tx, self.from_id],
            "to": [self.to_tx, self.to_id],
            "entries": self.entries,
            "first_at": stamp(self.first_at),
            "last_at": stamp(self.last_at),
            "rows_hash": self.rows_hash.hex(),
            "previous": self.previous.hex(),
            "sealed_at": stamp(self.sealed_at),
            "sealed_by": self.sealed_by,
        }

    def text(self) -> str:
        """What is hashed: JSON with sorted keys, no spaces, ASCII only."""
        return json.dumps(self.fields(), sort_keys=True, separators=(",", ":"))

    def computed(self) -> bytes:
        """The hash that it must have."""
        return hashlib.sha256(self.text().encode("ascii")).digest()


def row_hash(line: str) -> bytes:
    return hashlib.sha256(line.encode("utf-8")).digest()


def rows_hash(hashes: Iterable[bytes]) -> bytes:
    """Of a batch, from the hashes of its rows in their order."""
    return hashlib.sha256(b"".join(hashes)).digest()


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seal(engine: Engine, *, by: str, every_s: float = 0.0, for_s: float = math.inf) -> list[Seal]:
    """Seal what is final, a batch of 10,000 rows at a time, for so many wall seconds; the new seals, in their order.

    Nothing when another process is at it, when the last seal is younger than `every_s` wall seconds, or when the tables
    are those of an older hotset.
    """
    made: list[Seal] = []
    until = time.monotonic() + for_s
    try:
        while not made or time.monotonic() < until:
            fresh = _seal_batch(engine, by, every_s if not made else 0.0)
            made += fresh
            if sum(s.entries for s in fresh) < BATCH:
                break
    except OutdatedTables:
        pass  # they have no audit that could be sealed
    return made


def _seal_batch(engine: Engine, by: str, every_s: float) -> list[Seal]:
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if not connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).scalar_one():
                return []
            head = connection.exec_driver_sql(sql("audit_head")).one()
            if head.sealed_at is not None and (head.now - head.sealed_at).total_seconds() < every_s:
                return []
            after = (head.to_tx or 0, head.to_id or 0)
            # A page by the index, however much there is behind it.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
            # All of a transaction below the horizon had ended before the next statement looks.
            found = lines(connection, after, (head.horizon - 1, _LAST_ID), limit=BATCH)
            made = _seals(found, after, head.number or 0, head.hash or BEGINNING, head.now, by)
            for one, marks in made:
                connection.exec_driver_sql(sql("audit_seal"), _columns(one, marks))
            return [one for one, _ in made]


def lines(
    connection: Connection, after: tuple[int, int], upto: tuple[int, int] | None, *, limit: int | None = None
) -> Sequence[Row[Any]]:
    """Rows of the audit in (after, upto], with their texts."""
    to_tx, to_id = upto or (_LAST_ID, _LAST_ID)
    parameters = {"after_tx": after[0], "after_id": after[1], "to_tx": to_tx, "to_id": to_id, "limit": limit}
    return connection.exec_driver_sql(sql("audit_lines"), parameters).all()


def _seals(
    found: Sequence[Row[Any]], after: tuple[int, int], number: int, previous: bytes, now: datetime, by: str
) -> list[tuple[Seal, bytes]]:
    if not found:
        return []
    upto = (found[-1].tx, found[-1].id)
    made: list[tuple[Seal, bytes]] = []
    for month, of_month in groupby(sorted(found, key=attrgetter("month", "tx", "id")), key=attrgetter("month")):
        rows = list(of_month)
        hashes = [row_hash(r.line) for r in rows]
        times = [r.at for r in rows]
        number += 1
        draft = Seal(
            number, month, *after, *upto, len(rows), min(times), max(times), rows_hash(hashes), previous, now, by
        )
        previous = draft.computed()
        made.append((replace(draft, hash=previous), b"".join(h[:MARK] for h in hashes)))
    return made


def _columns(one: Seal, marks: bytes) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Seal.__slots__} | {"marks": marks}


def of_row(row: Row[Any]) -> Seal:
    """A row of audit_seals."""
    m = row._mapping
    values = {name: m[name] for name in Seal.__slots__}
    binary = {name: bytes(values[name]) for name in ("rows_hash", "previous", "hash")}
    return Seal(**values | binary)


def batches(seals: Iterable[Seal]) -> Iterator[list[Seal]]:
    """Seals that share one range, one for each month in it."""
    for _, same in groupby(seals, key=lambda s: (s.after, s.upto)):
        yield list(same)
