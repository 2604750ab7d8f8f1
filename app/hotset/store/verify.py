"""Is the audit what was sealed? Every hash is computed anew from the rows, and every head compared with its anchor."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row

from hotset.store.engine import connected, sql
from hotset.store.seals import BEGINNING, MARK, Seal, batches, of_row, row_hash, rows_hash

#: More faults are counted, not listed.
LISTED = 20
_FIRST = (-(2**63), -(2**63))
_LAST = (2**63 - 1, 2**63 - 1)
_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Fault:
    """`batch`: the number of the seal, `row`: the id of the first row concerned; None where nobody can say."""

    batch: int | None
    row: int | None
    what: str


@dataclass(slots=True)
class Verified:
    """What was found. `removed`: months whose rows retention dropped, with the rows that were sealed there; their seals
    were checked. `unsealed` rows have come since the last seal, and prove nothing yet."""

    seals: int = 0
    entries: int = 0
    removed: dict[date, int] = field(default_factory=dict)
    unsealed: int = 0
    unsealed_since: datetime | None = None
    head: Seal | None = None
    anchors: int = 0
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    @property
    def whole(self) -> bool:
        return self.fault_count == 0

    def fault(self, batch: int | None, row: int | None, what: str) -> None:
        self.fault_count += 1
        if len(self.faults) < LISTED:
            self.faults.append(Fault(batch, row, what))


class Chain:
    """Follows seals in their order and says what does not fit."""

    def __init__(self, report: Verified, anchors: Mapping[int, frozenset[str]], *, from_start: bool) -> None:
        self._report = report
        self._anchors = anchors
        self._from_start = from_start
        self._before: Seal | None = None
        self._first: int | None = None

    def follow(self, one: Seal) -> None:
        report, before = self._report, self._before
        if self._first is None:
            self._first = one.number
        report.seals += 1
        if one.computed() != one.hash:
            report.fault(one.number, None, "the seal was changed: its hash is another")
        if before is None:
            if self._from_start and (one.number != 1 or one.previous != BEGINNING):
                report.fault(one.number, None, f"the chain does not begin with this seal: {one.number - 1} are missing")
        elif one.number != before.number + 1:
            report.fault(one.number, None, f"{one.number - before.number - 1} seals before it are missing")
        elif one.previous != before.hash:
            report.fault(one.number, None, "it does not follow from the seal before it")
        elif one.after not in (before.upto, before.after):
            report.fault(one.number, None, "its rows do not begin where those of the seal before it end")
        if anchored := self._anchors.get(one.number):
            report.anchors += len(anchored)
            if anchored != {one.hash.hex()}:
                report.fault(one.number, None, "its hash is not the one that was anchored outside the database")
        self._before = report.head = one

    def end(self) -> None:
        """After the last seal: anchors beyond it are of seals that are gone."""
        last = self._before.number if self._before else 0
        first = self._first or 1
        for number in sorted(n for n in self._anchors if n > last or (n < first and self._from_start)):
            self._report.fault(number, None, "it was anchored outside the database and is gone from it")


def verify(engine: Engine, *, anchors: Mapping[int, frozenset[str]] | None = None) -> Verified:
    """The audit of the database, on one snapshot of it. Reads every row: a million takes a minute or two."""
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            return verify_within(connection, anchors=anchors)


def verify_within(connection: Connection, *, anchors: Mapping[int, frozenset[str]] | None = None) -> Verified:
    """The same as a part of the caller's transaction."""
    report = Verified()
    chain = Chain(report, anchors or {}, from_start=True)
    gone: dict[date, list[Seal]] = defaultdict(list)
    present: Counter[date] = Counter()
    sealed = sealed_with_marks(connection)
    for one, marks, rows in walk(connection, sealed):
        if one is None:
            _strays(report, rows)
            continue
        chain.follow(one)
        present[one.month] += len(rows)
        if rows:
            _compare(report, one, marks, rows)
        else:
            gone[one.month].append(one)
    chain.end()
    _judge_removed(connection, report, gone, present)
    place = sealed[-1][0].upto if sealed else _FIRST
    left = connection.exec_driver_sql(sql("audit_unsealed"), {"tx": place[0], "id": place[1]}).one()
    report.unsealed, report.unsealed_since = left.entries, left.oldest
    return report


def sealed_with_marks(connection: Connection) -> list[tuple[Seal, bytes]]:
    return [(of_row(r), bytes(r.marks)) for r in connection.exec_driver_sql(sql("audit_seals")).all()]


Batch = tuple[Seal | None, bytes, Sequence[Row[Any]]]


def walk(connection: Connection, sealed: Sequence[tuple[Seal, bytes]], *, strays: bool = True) -> Iterator[Batch]:
    """Each seal with its marks and the rows that lie in it now; under None what lies where no seal is.

    `connection` is in a transaction; rows are streamed in their order.
    """
    if not sealed:
        return
    marks = {one.number: m for one, m in sealed}
    begin = _FIRST if strays else sealed[0][0].after
    rows = _rows(connection, begin, sealed[-1][0].upto)
    row = next(rows, None)
    for same in batches(one for one, _ in sealed):
        before: list[Row[Any]] = []
        within: dict[date, list[Row[Any]]] = defaultdict(list)
        while row is not None and (row.tx, row.id) <= same[0].upto:
            if (row.tx, row.id) <= same[0].after:
                before.append(row)
            else:
                within[row.month].append(row)
            row = next(rows, None)
        if before:
            yield None, b"", before
        for one in same:
            yield one, marks[one.number], within.pop(one.month, [])
        if strays:
            for others in within.values():
                yield None, b"", others


def _rows(connection: Connection, after: tuple[int, int], upto: tuple[int, int]) -> Iterator[Row[Any]]:
    parameters = {"after_tx": after[0], "after_id": after[1], "to_tx": upto[0], "to_id": upto[1], "limit": None}
    yield from connection.exec_driver_sql(
        sql("audit_lines"), parameters, execution_options={"stream_results": True, "yield_per": _PAGE}
    )


def _strays(report: Verified, rows: Sequence[Row[Any]]) -> None:
    report.fault(None, rows[0].id, f"{_count(len(rows))} where everything was sealed, and in no batch: added later")


def _compare(report: Verified, one: Seal, marks: bytes, rows: Sequence[Row[Any]]) -> None:
    hashes = [row_hash(r.line) for r in rows]
    if rows_hash(hashes) == one.rows_hash and len(rows) == one.entries:
        report.entries += len(rows)
        return
    expected = Counter(marks[i : i + MARK] for i in range(0, len(marks), MARK))
    found = Counter(h[:MARK] for h in hashes)
    odd = [r.id for r, h in zip(rows, hashes, strict=True) if h[:MARK] not in expected]
    missing = (expected - found).total()
    said = []
    if odd:
        said.append(f"{_count(len(odd))} changed or added, the first is id {odd[0]}")
    if missing > len(odd):
        said.append(f"{_count(missing - len(odd))} missing")
    report.fault(one.number, odd[0] if odd else None, "; ".join(said) or "its rows are not those that were sealed")


def _judge_removed(
    connection: Connection, report: Verified, gone: Mapping[date, Sequence[Seal]], present: Mapping[date, int]
) -> None:
    """Rows may be gone only as whole months, with the table of the month, and the audit must say so. What it said of
    an older month may itself have gone with a younger one."""
    if not gone:
        return
    said = {r.month: r.entries for r in connection.exec_driver_sql(sql("audit_months")).all()}
    whole = {m for m in gone if not present[m] and not _table_exists(connection, m)}
    newest = max(whole, default=None)
    for month, seals in sorted(gone.items()):
        entries = sum(s.entries for s in seals)
        if month not in whole:
            for one in seals:
                report.fault(one.number, None, f"all its {_count(one.entries)} are missing")
        elif month in said and said[month] < entries:
            report.fault(
                seals[0].number,
                None,
                f"retention dropped {said[month]} of {month:%Y-%m}, of which {entries} were sealed",
            )
        elif month not in said and month == newest:
            report.fault(
                seals[0].number, None, f"the rows of {month:%Y-%m} are gone, and nothing says who dropped them"
            )
        else:
            report.removed[month] = entries


def _table_exists(connection: Connection, month: date) -> bool:
    query = "SELECT to_regclass(%s) IS NOT NULL"
    return bool(connection.exec_driver_sql(query, (f"audit_{month:%Y_%m}",)).scalar_one())


def _count(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"
