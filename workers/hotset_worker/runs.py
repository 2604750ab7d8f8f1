"""The attempts that this worker runs now, and how to end one from outside: cancel, time limit, lost lease, shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal
from uuid import UUID

from hotset.jobs import Attempt
from hotset.models import Generation

#: Why a run was broken off. `lost`: another worker has the job now, nothing of ours is written any more.
End = Literal["cancelled", "timeout", "hung", "lost", "handed back"]


class ActiveRun:
    """One attempt. `end` may come from any thread, before, during or after the generation."""

    def __init__(self, attempt: Attempt, claim: str) -> None:
        self.attempt = attempt
        self.claim = claim
        self.ended: End | None = None
        self.reason = ""
        self.model = ""
        #: Monotonic times: its last token, and until when it waits for the next one.
        self.spoke_at: float | None = None
        self.waits_until = float("inf")
        self._generation: Generation | None = None
        self._lock = threading.Lock()

    def waits(self, seconds: float) -> None:
        """For its first token, so long at most."""
        self.waits_until = time.monotonic() + seconds

    def spoke(self, stall_s: float) -> None:
        """A token has come; the next one has so many seconds."""
        self.spoke_at = time.monotonic()
        self.waits_until = self.spoke_at + stall_s

    def attach(self, generation: Generation) -> None:
        """The stream is open; closes it at once when the run was ended before."""
        with self._lock:
            self._generation = generation
            ended = self.ended is not None
        if ended:
            generation.close()

    def end(self, how: End, reason: str = "") -> None:
        """Break it off: closing the stream frees the model server's slot. The first reason stays."""
        with self._lock:
            if self.ended is not None:
                return
            self.ended, self.reason = how, reason
            generation = self._generation
        if generation is not None:
            generation.close()


class ActiveRuns:
    """All of them, by job. Thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[UUID, ActiveRun] = {}
        #: Jobs whose claim was asked for, and Postgres went away before it said whether it is ours.
        self._unclear: set[UUID] = set()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)

    @contextmanager
    def active(self, attempt: Attempt, claim: str) -> Iterator[ActiveRun]:
        run = ActiveRun(attempt, claim)
        with self._lock:
            self._runs[attempt.id] = run
        try:
            yield run
        finally:
            with self._lock:
                if self._runs.get(attempt.id) is run:
                    del self._runs[attempt.id]
                self._idle.notify_all()

    def all(self) -> list[ActiveRun]:
        with self._lock:
            return list(self._runs.values())

    def get(self, job_id: UUID) -> ActiveRun | None:
        with self._lock:
            return self._runs.get(job_id)

    def note_unclear(self, job_id: UUID) -> None:
        with self._lock:
            self._unclear.add(job_id)

    def unclear(self) -> set[UUID]:
        """Of them those that do not run here now."""
        with self._lock:
            return self._unclear - self._runs.keys()

    def cleared(self, job_ids: Iterable[UUID]) -> None:
        with self._lock:
            self._unclear.difference_update(job_ids)

    def spoke_since(self, model: str, moment: float) -> bool:
        """Whether a run of that model, which still goes on, got a token after that (monotonic) moment."""
        return any(run.model == model and run.spoke_at is not None and run.spoke_at >= moment for run in self.all())

    def wait_idle(self, timeout_s: float) -> bool:
        """Until nothing runs, at most that many wall seconds; whether it came to that."""
        with self._lock:
            return self._idle.wait_for(lambda: not self._runs, timeout=timeout_s)
