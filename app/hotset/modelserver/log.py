"""The trace: what happened on this GPU, one JSON object a line (see the trace format in docs/formats.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from hotset.modelserver.clock import Clock


class TraceLog:
    """Writes events, each flushed. `t` is model seconds since the first event; `at` is the time of day, so that
    the traces of several GPUs can be merged. Without a path it writes nothing."""

    def __init__(self, path: Path | None, *, gpu: str, clock: Clock) -> None:
        self._gpu = gpu
        self._clock = clock
        self._first: float | None = None
        self._file: IO[str] | None = None
        if path is not None:
            self._file = path.open("w", encoding="utf-8", buffering=1)

    def load(self, model: str, reason: str) -> None:
        self._write("load", model=model, reason=reason)

    def loaded(self, model: str) -> None:
        self._write("loaded", model=model)

    def evict(self, model: str, reason: str) -> None:
        self._write("evict", model=model, reason=reason)

    @contextlib.contextmanager
    def run(self, job: str, model: str) -> Iterator[None]:
        """`start` and `finish` around a request's run; the outcome is told by how the block ends."""
        self._write("start", job=job, model=model)
        outcome = "failed"
        try:
            yield
            outcome = "succeeded"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            self._write("finish", job=job, model=model, outcome=outcome)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, event: str, **fields: str) -> None:
        if self._file is None:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now
        t = round(self._clock.model(now - self._first), 6)
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        self._file.write(json.dumps({"t": t, "event": event, "gpu": self._gpu, **fields, "at": at}) + "\n")
