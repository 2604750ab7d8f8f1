"""A worker driven by hand: it claims jobs, says words and commits, at the very moment that a test wants it to."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

from hotset.broker import Replies
from hotset.jobs import Attempt, Outcome, State
from hotset.store import JobStore, make_engine
from stack import Stack

NAME = "byhand"


class Worker:
    """On the servers of the stack; closes with its `with` block."""

    def __init__(self, stack: Stack) -> None:
        self._engine = make_engine(stack.env["HOTSET_DATABASE_URL"], application="test-byhand")
        self.store = JobStore(self._engine, scale=float(stack.env["HOTSET_SCALE"]))
        self.replies = Replies(stack.env["HOTSET_CACHE_URL"])

    def start(self, job_id: str) -> Run:
        attempt = self.store.claim(UUID(job_id), worker=NAME, lease_s=60.0)
        assert attempt is not None, f"job {job_id} cannot be claimed"
        self.replies.started(attempt.reply_to, attempt.id, attempt.number, restarted=attempt.number > 1)
        return Run(self, attempt)

    def finish(self, job_id: str, text: str = "done") -> None:
        """A whole run that says nothing on the way."""
        self.start(job_id).end(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replies.close()
        self._engine.dispose()


class Run:
    def __init__(self, worker: Worker, attempt: Attempt) -> None:
        self._worker = worker
        self.attempt = attempt
        self._seq = 0
        self._said = ""

    def say(self, *pieces: str) -> None:
        """As the token sender of a worker."""
        a = self.attempt
        assert a.reply_to is not None
        for piece in pieces:
            self._worker.replies.tokens(a.reply_to, a.id, a.number, self._seq, piece, "")
            self._seq += 1
            self._said += piece

    def end(self, text: str | None = None, state: State = State.SUCCEEDED, error: str | None = None) -> None:
        """Commit; `text` is what was said unless it is given."""
        a = self.attempt
        kind = None if error is None else "GenerationFailed"
        said = self._said if text is None else text
        outcome = Outcome(state, text=said, model="m", simulated=True, error=error, error_kind=kind)
        assert self._worker.store.finish(a.id, a.number, outcome, worker=NAME)
        self._worker.replies.ended(a.reply_to, a.id, state)

    def hand_back(self) -> None:
        assert self._worker.store.release(self.attempt.id, self.attempt.number, worker=NAME, reason="test")
