"""A job as data. Nothing here does I/O; the store writes these, the client reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from hotset.errors import HotsetError
from hotset.jobs.priorities import Priority
from hotset.jobs.states import State

#: Characters of an answer that its repr shows.
_SHOWN = 60


#: What a caller may say of a job beside agent and prompt, however it is submitted: names of `Client.submit`.
JOB_OPTIONS = (
    "priority",
    "deadline",
    "queue_timeout",
    "run_timeout",
    "not_before",
    "max_retries",
    "options",
    "metadata",
    "send_to",
)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that has been checked and may be accepted. Durations are model seconds, counted from arrival.

    `options` are generation parameters that override the agent's (temperature, max_tokens ...); `reply_to` is the
    client process that wants to be woken, `stream` whether it wants tokens.
    """

    id: UUID
    agent: str
    queue: str
    prompt: str
    tenant: str = "default"
    priority: Priority = Priority.NORMAL
    deadline_s: float = 120.0
    queue_timeout_s: float | None = None
    run_timeout_s: float | None = None
    not_before_s: float | None = None
    max_retries: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    reply_to: str | None = None
    stream: bool = False
    replay_of: UUID | None = None
    #: What the workers must know beyond their own configuration: `{"agent": {...}}` of a user's own agent.
    spec: Mapping[str, Any] | None = None
    #: Of a flow: which one, the step's number, the jobs it waits for, and whether others wait for it.
    flow: UUID | None = None
    step: int | None = None
    depends_on: tuple[UUID, ...] = ()
    has_dependents: bool = False
    #: The agent whose inbox gets the answer, by the commit that ends the job.
    send_to: str | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """What the broker is told of a waiting job: enough to order it, nothing that was said in it."""

    id: UUID
    agent: str
    queue: str
    tenant: str
    priority: Priority
    arrived_at: datetime
    deadline_at: datetime
    #: An attempt of it lost its lease: it runs alone, so that poison kills no neighbour and nobody else is blamed.
    suspect: bool = False

    @property
    def lane(self) -> str:
        return "suspect" if self.suspect else self.priority.label


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed job: the right to run it, for as long as the lease is renewed. `number` is the fencing token."""

    id: UUID
    number: int
    agent: str
    queue: str
    tenant: str
    prompt: str
    options: Mapping[str, Any]
    run_timeout_s: float | None
    max_retries: int | None
    failures: int
    crashes: int
    arrived_at: datetime
    deadline_at: datetime
    reply_to: str | None
    stream: bool
    flow: UUID | None = None
    spec: Mapping[str, Any] | None = None
    #: Why it cannot be run at all: its prompt is not to be read here, and stands empty above.
    unreadable: HotsetError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. `state` is succeeded, failed, cancelled, or scheduled for a retry in `retry_in_s`.

    `model_digest` names the very revision of the model, as its server does.
    """

    state: State
    text: str = ""
    thinking: str = ""
    model: str = ""
    model_digest: str = ""
    simulated: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    error_kind: str | None = None
    error: str | None = None
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """The one committed result of a succeeded job. `simulated`: its words mean nothing."""

    text: str
    thinking: str
    model: str
    simulated: bool
    usage: Mapping[str, Any]
    timings: Mapping[str, Any]

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}…"
        parts = [f"text={shown!r}", f"chars={len(self.text)}", f"model={self.model!r}"]
        if "output_tokens" in self.usage:
            parts.append(f"tokens={self.usage['output_tokens']}")
        return f"JobResult({', '.join(parts)}{', SIMULATED' if self.simulated else ''})"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it. Times of day are UTC; `wait_s` and `run_s` are model seconds.

    `released_at`: when the last job that it depended on succeeded; its wait counts from there, and its deadline.
    `step` is its number in the flow. `suspect`: a worker died while it ran; it runs alone. `crashes` counts the deaths
    in which it was alone. A result that cannot be decrypted here is none; `error` says so.
    """

    id: UUID
    state: State
    agent: str
    queue: str
    tenant: str
    priority: Priority
    attempt: int
    failures: int
    crashes: int
    arrived_at: datetime
    deadline_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    worker: str | None
    wait_s: float | None
    run_s: float | None
    error_kind: str | None
    error: str | None
    metadata: Mapping[str, Any]
    replay_of: UUID | None = None
    result: JobResult | None = None
    flow: UUID | None = None
    step: int | None = None
    released_at: datetime | None = None
    suspect: bool = False
