"""States of a job and the transitions that are legal. The database enforces the same table by a trigger.

scheduled ─┐                    ┌─> succeeded
blocked ───┼─> queued ─> running ┼─> failed
           │     ^          │    ├─> cancelled
           │     └──────────┤    └─> quarantined
           └<───────────────┘ retry with back-off
every waiting state may also end as cancelled or expired
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL

    @property
    def waiting(self) -> bool:
        return self in WAITING


WAITING = frozenset({State.SCHEDULED, State.BLOCKED, State.QUEUED})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.QUARANTINED})
OPEN = frozenset(State) - TERMINAL

TRANSITIONS: frozenset[tuple[State, State]] = frozenset(
    {
        (State.SCHEDULED, State.QUEUED),
        (State.BLOCKED, State.QUEUED),
        (State.BLOCKED, State.SCHEDULED),
        # A dependency that failed fails what waits for it.
        (State.BLOCKED, State.FAILED),
        (State.QUEUED, State.RUNNING),
        # A message that names what cannot be run (say, an agent of a newer catalogue) ends without a run.
        (State.QUEUED, State.FAILED),
        # A crash or a job handed back returns to the queue at once; a retry goes to `scheduled` for its back-off.
        (State.RUNNING, State.QUEUED),
        (State.RUNNING, State.SCHEDULED),
        (State.RUNNING, State.SUCCEEDED),
        (State.RUNNING, State.FAILED),
        (State.RUNNING, State.CANCELLED),
        (State.RUNNING, State.QUARANTINED),
    }
    | {(s, State.CANCELLED) for s in WAITING}
    | {(s, State.EXPIRED) for s in WAITING}
)


def legal(before: State, after: State) -> bool:
    """Whether a job may go from one state to another; staying is not a transition."""
    return (before, after) in TRANSITIONS
