"""The audit as a file that others can verify, without this database: lines of JSON.

    {"export": {...}}     the first line: of what, when
    {"seal": {...}}       a seal with its hash; then its rows in their order, each one of
    {"action": ...}       a row, the very text that was hashed: SHA-256 of the line (without its end) is the row's hash
    {"other": "9f..."}    the hash of a row that was not asked for: another tenant's, or of another time
    {"end": {...}}        the last line: how many seals and rows there are

Batches are exported whole, or their hash could not be computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Engine

from hotset.errors import UsageError
from hotset.store.engine import connected, sql
from hotset.store.seals import Seal, row_hash, rows_hash, stamp
from hotset.store.verify import Chain, Verified, sealed_with_marks, walk

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """`rows` in full, `others` by their hashes; `unsealed` rows came too late for this file."""

    seals: int
    rows: int
    others: int
    unsealed: int


def export(
    engine: Engine,
    out: TextIO,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tenant: str | None = None,
) -> Exported:
    """Write the sealed rows of that time (`until` is excluded) and tenant; None: all."""

    def wanted(row: Any) -> bool:
        return (
            (tenant is None or row.tenant == tenant)
            and (since is None or row.at >= since)
            and (until is None or row.at < until)
        )

    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            everything = sealed_with_marks(connection)
            place = everything[-1][0].upto if everything else (0, 0)
            left = connection.exec_driver_sql(sql("audit_unsealed"), {"tx": place[0], "id": place[1]}).one()
            now = connection.exec_driver_sql("SELECT now()").scalar_one()
            chosen = _chosen(everything, since, until)
            asked = {"since": since and stamp(since), "until": until and stamp(until), "tenant": tenant}
            _line(out, "export", {"format": FORMAT, "at": stamp(now), **asked})
            rows = others = 0
            for one, _, found in walk(connection, chosen, strays=False):
                if one is None:
                    continue
                _line(out, "seal", {**one.fields(), "hash": one.hash.hex()})
                for row in found:
                    if wanted(row):
                        out.write(row.line + "\n")
                        rows += 1
                    else:
                        _line(out, "other", row_hash(row.line).hex())
                        others += 1
            _line(out, "end", {"seals": len(chosen), "rows": rows, "others": others})
    return Exported(len(chosen), rows, others, left.entries)


def _chosen(
    everything: list[tuple[Seal, bytes]], since: datetime | None, until: datetime | None
) -> list[tuple[Seal, bytes]]:
    """From the first seal that has a row of that time to the last, without a gap."""
    here = [
        i
        for i, (one, _) in enumerate(everything)
        if (since is None or one.last_at >= since) and (until is None or one.first_at < until)
    ]
    return everything[here[0] : here[-1] + 1] if here else []


def _line(out: TextIO, kind: str, value: object) -> None:
    out.write(json.dumps({kind: value}, separators=(",", ":")) + "\n")


def verify_file(path: Path, *, anchors: Mapping[int, frozenset[str]] | None = None) -> Verified:
    """Whether the file's rows are those that its seals sealed, and these a part of one chain.

    Only an anchor says that it is this chain: whoever can write the file can compute its hashes. Raises UsageError for
    a file that is no export.
    """
    report = Verified()
    chain = Chain(report, anchors or {}, from_start=False)
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            _follow_file(path, iter(lines), report, chain)
    except UnicodeDecodeError:
        raise _no_export(path) from None
    return report


def _follow_file(path: Path, lines: Iterator[str], report: Verified, chain: Chain) -> None:
    if "export" not in _parsed(path, next(lines, "")):
        raise _no_export(path)
    seal: Seal | None = None
    hashes: list[bytes] = []
    end: Any = None
    for line in lines:
        said = _parsed(path, line)
        if end is not None:
            raise _no_export(path)
        if "action" in said and seal is not None:
            hashes.append(row_hash(line.rstrip("\n")))
        elif "other" in said and seal is not None:
            hashes.append(_hash(path, said["other"]))
        elif "seal" in said or "end" in said:
            _close(report, seal, hashes)
            hashes = []
            if "end" in said:
                end = said["end"]
            else:
                seal = _seal(path, said["seal"])
                chain.follow(seal)
        else:
            raise _no_export(path)
    if end is None:
        report.fault(seal.number if seal else None, None, "the file ends too early")
    elif end.get("seals") != report.seals:
        report.fault(None, None, "the file has another number of seals than it says")


def _close(report: Verified, seal: Seal | None, hashes: list[bytes]) -> None:
    """The rows of that seal are all there."""
    if seal is None:
        return
    if not hashes:
        report.removed[seal.month] = report.removed.get(seal.month, 0) + seal.entries
    elif rows_hash(hashes) == seal.rows_hash and len(hashes) == seal.entries:
        report.entries += len(hashes)
    else:
        report.fault(seal.number, None, "its rows are not those that were sealed")


def _seal(path: Path, said: Mapping[str, Any]) -> Seal:
    try:
        (from_tx, from_id), (to_tx, to_id) = said["from"], said["to"]
        return Seal(
            number=int(said["number"]),
            month=date.fromisoformat(said["month"]),
            from_tx=int(from_tx),
            from_id=int(from_id),
            to_tx=int(to_tx),
            to_id=int(to_id),
            entries=int(said["entries"]),
            first_at=datetime.fromisoformat(said["first_at"]),
            last_at=datetime.fromisoformat(said["last_at"]),
            rows_hash=bytes.fromhex(said["rows_hash"]),
            previous=bytes.fromhex(said["previous"]),
            sealed_at=datetime.fromisoformat(said["sealed_at"]),
            sealed_by=str(said["sealed_by"]),
            hash=bytes.fromhex(said["hash"]),
        )
    except (KeyError, TypeError, ValueError):
        raise _no_export(path) from None


def _hash(path: Path, said: object) -> bytes:
    try:
        return bytes.fromhex(str(said))
    except ValueError:
        raise _no_export(path) from None


def _parsed(path: Path, line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        raise _no_export(path) from None
    if not isinstance(said, dict):
        raise _no_export(path)
    return said


def _no_export(path: Path) -> UsageError:
    return UsageError(f"{path} is no export of the audit.", remedy="Give a file that `hotset audit export` wrote.")
