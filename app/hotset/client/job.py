"""Handles on accepted jobs: their ids and the ways to ask about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from hotset.client import following, waiting
from hotset.client.eta import Eta
from hotset.client.steps import Each, run
from hotset.client.streaming import StreamEvent
from hotset.errors import HotsetError
from hotset.jobs import JobResult, JobView, State

if TYPE_CHECKING:
    from hotset.client.client import Client


class Handle:
    """Refers to a job in Postgres; cheap, holds no connection. Keeps how the job ended, which never changes."""

    def __init__(self, job_id: UUID) -> None:
        self._id = job_id
        self._ended: JobView | None = None
        self._trouble: HotsetError | None = None

    @property
    def id(self) -> str:
        return str(self._id)

    @property
    def error(self) -> str | None:
        """Why it ended without a result, once that is known here (after `result`, `view`, or from `as_completed`)."""
        if self._trouble is not None:
            return str(self._trouble)
        if self._ended is None or (self._ended.state is State.SUCCEEDED and self._ended.error is None):
            return None
        return self._ended.error or f"it ended as {self._ended.state}"

    def __repr__(self) -> str:
        ended = f", {self._ended.state}" if self._ended is not None else ""
        return f"{type(self).__name__}({self.id}{ended})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


class Job(Handle):
    """A job of a `Client`. `status`, `view`, `position` and `eta` ask each time they are read, until it has ended."""

    def __init__(self, client: Client, job_id: UUID) -> None:
        super().__init__(job_id)
        self._client = client

    @property
    def status(self) -> State:
        """The state now. Raises UnknownJob when the job is not there (any more)."""
        return self.view.state

    @property
    def view(self) -> JobView:
        """Everything about the job now, with its result if it has one."""
        if self._ended is not None:
            return self._ended
        view = self._client.get(self._id)
        if view.state.terminal:
            self._ended = view
        return view

    @property
    def position(self) -> int | None:
        """How many jobs are picked before it in its queue; None when it is not in a queue: not yet, or no more.

        Higher priorities first, then those that can still meet their deadline, earliest first. What is hot on a GPU,
        and jobs that have waited too long, may change the order.
        """
        return None if self._ended is not None else self._client.position(self._id)

    @property
    def eta(self) -> Eta | None:
        """When it will start, from what waits before it, learned run and load times, and what the GPUs do now; None
        when it does not wait any more. How far off such forecasts were: `hotset models --json`."""
        return None if self._ended is not None else self._client.eta(self._id)

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the result, at most `timeout` wall seconds.

        Raises ResultTimeout (the job goes on), JobFailed when the job ended without a result, or CannotDecrypt.
        """
        return run(waiting.result(self._client, self, timeout))

    def stream(self, *, after: str | None = None, timeout: float | None = None) -> Each[StreamEvent]:
        """The job's events until it ends, from its first or from behind the event whose id is `after`.

        The words come as they are said only if it was submitted with `stream=True`; else together, at its end.
        Raises ResultTimeout after `timeout` wall seconds.
        """
        return Each(following.follow(self._client, self._id, after, timeout))

    def cancel(self, reason: str = "cancelled by its owner") -> bool:
        """Cancel, waiting or running (which closes the model's stream); False when it had ended already."""
        return self._ended is None and self._client.cancel(self._id, reason=reason)

    def retry(self, reason: str | None = None) -> Job:
        """Submit it again, now that it has ended, as a new job. See `Client.retry`."""
        return self._client.retry(self._id, reason)


class Jobs(list[Job]):
    """The jobs of one `submit_many`, in its order."""

    def __init__(self, client: Client, jobs: Iterable[Job] = ()) -> None:
        super().__init__(jobs)
        self._client = client

    def as_completed(self, *, progress: bool = False, timeout: float | None = None) -> Each[Job]:
        """The jobs as they end. Failures do not stop it: see each job's `view` and `error`.

        `progress` shows a bar on standard error, if that is a terminal. Raises ResultTimeout after `timeout` wall
        seconds; the jobs go on.
        """
        return Each(waiting.as_completed(self._client, self, timeout=timeout, progress=progress))

    def results(self, timeout: float | None = None) -> list[JobResult]:
        """Wait for all, at most `timeout` wall seconds; their results, in order.

        Once all have ended, raises JobFailed for the first that has no result.
        """
        return run(waiting.results(self._client, self, timeout))

    def cancel(self, reason: str = "cancelled by its owner") -> int:
        """Cancel those that have not ended; how many."""
        return sum(job.cancel(reason) for job in self)
