"""A handle on an accepted job: its id and the ways to ask about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from hotset.jobs import JobResult, JobView, State

if TYPE_CHECKING:
    from hotset.client.client import Client
    from hotset.client.listener import Waiter
    from hotset.client.streaming import StreamEvent


class Job:
    """Refers to a job in Postgres; cheap, holds no connection. `status` and `view` ask each time they are read."""

    def __init__(self, client: Client, job_id: UUID, waiter: Waiter | None = None) -> None:
        self._client = client
        self._id = job_id
        # Listens since before the job was accepted, so that its first tokens are not missed.
        self._waiter = waiter

    @property
    def id(self) -> str:
        return str(self._id)

    @property
    def status(self) -> State:
        """The state now. Raises UnknownJob when the job is not there (any more)."""
        return self.view.state

    @property
    def view(self) -> JobView:
        """Everything about the job now, with its result if it has one."""
        return self._client.get(self._id)

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the result, at most `timeout` wall seconds.

        Raises ResultTimeout (the job goes on), or JobFailed when the job ended without a result.
        """
        return self._client.wait(self._id, timeout)

    def stream(self, timeout: float | None = None) -> Iterator[StreamEvent]:
        """The job's events until it ends; tokens only if it was submitted with `stream=True`."""
        waiter, self._waiter = self._waiter, None
        return self._client.follow(self._id, timeout, waiter)

    def cancel(self, reason: str = "cancelled by its owner") -> bool:
        """Cancel, waiting or running (which closes the model's stream); False when it had ended already."""
        return self._client.cancel(self._id, reason=reason)

    def __repr__(self) -> str:
        return f"Job({self.id})"
