"""Heads of the audit's chain outside the database: a file that is only appended to, a line of JSON for each.

    {"number": 12, "hash": "9f…", "sealed_at": "2026-11-21T08:00:00.000000Z"}

A head stands for everything before it. Lines may be missing (a worker died between the commit and the line): each that
is there is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hotset.errors import UsageError
from hotset.store.seals import Seal, stamp

_BEGINS = '{"number"'


def append(path: Path, seals: Iterable[Seal]) -> None:
    """Write the heads and wait until the disk has them. Several processes of a machine may share the file."""
    body = b"".join(
        json.dumps({"number": s.number, "hash": s.hash.hex(), "sealed_at": stamp(s.sealed_at)}).encode() + b"\n"
        for s in seals
    )
    if not body:
        return
    is_new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            body = b"\n" + body  # a crash cut the last line off
        # One write: another process's line comes before or after it.
        if os.write(handle, body) != len(body):
            raise OSError(f"{path} took only a part of a line")
        os.fsync(handle)
    finally:
        os.close(handle)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> Mapping[int, frozenset[str]]:
    """Number -> the hashes (hexadecimal) that were anchored for it: more than one after a restore.

    A line that was cut off in a crash is left out. Raises UsageError for a file that is none of ours.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(
            f"The anchors in {path} cannot be read: {e}.", remedy="Give the file of `audit_anchor`."
        ) from e
    found: dict[int, set[str]] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(_BEGINS) and not line.endswith("}"):
            continue
        try:
            said = json.loads(line)
            seal, hash_ = int(said["number"]), bytes.fromhex(said["hash"]).hex()
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                f"{path}, line {number} is no anchor.", remedy='Lines look like {"number": 1, "hash": "…"}.'
            ) from None
        found.setdefault(seal, set()).add(hash_)
    return {number: frozenset(hashes) for number, hashes in found.items()}
