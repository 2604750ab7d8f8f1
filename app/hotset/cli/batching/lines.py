"""Lines of a batch file: each checked before any is submitted, each with the key that makes it one job for ever.

The key of a line that names none is a hash of what it says and its ordinal among equal lines: it stays the same when
the file is moved, sorted or grows, and two equal lines are two jobs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from hotset.errors import InvalidJob, UsageError, did_you_mean
from hotset.jobs import JOB_OPTIONS, NewJob

#: Bytes of a line: more than the longest prompt takes in JSON.
LONGEST_LINE = 10_000_000
_OPTIONS = ("agent", "prompt", *JOB_OPTIONS)
_OURS = ("id", "key")
_LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class Line:
    """A good line: where it stands, its key, the id that the user gave it, and the queue it goes to."""

    number: int
    offset: int
    key: str
    label: str | int | None
    queue: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no job, and why."""

    number: int
    key: str
    label: str | int | None
    error: str


def read_lines(file: BinaryIO, check: Callable[..., NewJob], run: str) -> Iterator[Line | BadLine]:
    """Every line that is not blank. `check` is the intake's: it raises what is wrong with a job."""
    equal: Counter[str] = Counter()
    first_with: dict[str, int] = {}
    offset = number = 0
    while raw := file.readline(LONGEST_LINE + 1):
        number += 1
        here, offset = offset, offset + len(raw)
        if not raw.strip():
            continue
        body = _digest(run, raw)
        label = None
        try:
            if len(raw) > LONGEST_LINE:
                raise InvalidJob(f"The line is longer than {LONGEST_LINE:,} bytes.")
            row = parse(raw)
            label = _label(row)
            asked = submission(row)
            body = _digest(run, json.dumps(row, sort_keys=True).encode())
            key = row.get("key")
            if key is None:
                key = f"batch:{body}:{equal[body]}"
            elif isinstance(key, str) and key in first_with:
                raise InvalidJob(f"The key {key!r} is that of line {first_with[key]}.", remedy="A line, a key.")
            job = check(**asked, idempotency_key=key)
        except (UsageError, TypeError) as e:
            yield BadLine(number, f"bad:{body}:{equal[body]}", label, str(e))
        else:
            first_with[key] = number
            yield Line(number, here, key, label, job.queue)
        equal[body] += 1


def parse(raw: bytes) -> dict[str, Any]:
    """The object of a line. Raises InvalidJob."""
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise InvalidJob(f"Byte {e.start} is not UTF-8.", remedy="Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as e:
        raise InvalidJob(f"It is not JSON: {e}.", remedy='Write {"agent": ..., "prompt": ...}.') from None
    if not isinstance(row, dict):
        raise InvalidJob("It is not an object.", remedy='Write {"agent": ..., "prompt": ...}.')
    return row


def submission(row: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Client.submit` in a line, without its key. Raises InvalidJob for an unknown name."""
    for name in row:
        if name not in _OPTIONS and name not in _OURS:
            hint = did_you_mean(name, (*_OPTIONS, *_OURS), "")
            known = hint if hint.startswith("Did") else f"There are {', '.join((*_OPTIONS, *_OURS))}."
            raise InvalidJob(f"A line has no {name!r}.", remedy=known)
    for name in ("agent", "prompt"):
        if name not in row:
            raise InvalidJob(f"{name!r} is missing.", remedy=f'Add "{name}": "...".')
    return {name: value for name, value in row.items() if name in _OPTIONS and value is not None}


def _label(row: Mapping[str, Any]) -> str | int | None:
    label = row.get("id")
    if label is None or (
        isinstance(label, str | int) and not isinstance(label, bool) and len(str(label)) <= _LONGEST_ID
    ):
        return label
    raise InvalidJob(f"'id' is no text of at most {_LONGEST_ID} characters.", remedy="It is yours: a name, a number.")


def _digest(run: str, body: bytes) -> str:
    return hashlib.sha256(run.encode() + b"\x00" + body.strip()).hexdigest()[:32]
