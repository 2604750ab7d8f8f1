"""Grants: permission to start one job. The owner of a GPU issues them, the transport spends each on one claim.

A queue order alone leaks (a BRPOP that already waits keeps its old keys, and each leak is a hidden swap), so nothing
is ever fetched without a grant. The desk sits between two threads: the owner's, which issues and listens, and the
hub's, which spends. Neither waits for the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hotset.scheduling.decisions import Selector


@dataclass(frozen=True, slots=True)
class Grant:
    """Start one job of that lane; which one, fair shares decide beside the selector. `expected_s`: what its owner is
    charged until the true run is known, model seconds. A grant of an older epoch is void: the hot set has changed."""

    queue: str
    lane: str
    selector: Selector
    model: str
    epoch: int
    expected_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """The grant took a job, held under `claim` until it is acknowledged."""

    grant: Grant
    claim: str


@dataclass(frozen=True, slots=True)
class Returned:
    """The grant took nothing: the lane was empty, its epoch had passed, or the broker was away."""

    grant: Grant
    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """The job held under `claim` was acknowledged or rejected: its slot is free."""

    claim: str


GrantEvent = Spent | Returned | Released


class Spender(Protocol):
    """What a channel does with a grant, in the hub's thread. It answers why nothing was taken, or None if it was."""

    def spend(self, grant: Grant) -> str | None: ...


class Hub(Protocol):
    """The part of kombu's event loop that we use."""

    def call_soon(self, callback: Callable[[], None]) -> object: ...


class GrantDesk:
    """Where grants wait to be spent. `listen` is called from either thread and must only put the event away."""

    def __init__(self, listen: Callable[[GrantEvent], None]) -> None:
        self._listen = listen
        self._waiting: deque[Grant] = deque()
        self._lock = threading.Lock()
        self._hub: Hub | None = None
        self._spender: Spender | None = None
        self._epoch = 0

    def __json__(self) -> str:
        """Celery's `inspect stats` shows the transport's options, of which this is one."""
        return type(self).__name__

    def issue(self, grant: Grant) -> None:
        """Owner: spend this as soon as the hub can. It ends in exactly one Spent or Returned."""
        with self._lock:
            self._waiting.append(grant)
            hub = self._hub
        if hub is not None:
            hub.call_soon(self.spend_waiting)

    def void_before(self, epoch: int) -> None:
        """Owner: grants of older epochs that are still unspent come back as Returned."""
        self._epoch = epoch

    def attach(self, hub: Hub, spender: Spender) -> None:
        """Hub: this channel consumes now. What was issued before is spent by it."""
        with self._lock:
            self._hub, self._spender = hub, spender
        hub.call_soon(self.spend_waiting)

    def detach(self, spender: Spender) -> None:
        """Hub: the channel is closing. Grants wait for the next one."""
        with self._lock:
            if self._spender is spender:
                self._hub, self._spender = None, None

    def released(self, claim: str) -> None:
        """Hub: the job of that claim was acknowledged or rejected."""
        self._listen(Released(claim))

    def spent(self, grant: Grant, claim: str) -> None:
        """Hub: told before the message is handed on, so that the owner knows of the claim before the job runs."""
        self._listen(Spent(grant, claim))

    def spend_waiting(self) -> None:
        """Hub: spend what waits."""
        while True:
            with self._lock:
                if self._spender is None or not self._waiting:
                    return
                grant, spender = self._waiting.popleft(), self._spender
            if grant.epoch < self._epoch:
                self._listen(Returned(grant, "its epoch has passed"))
                continue
            reason = spender.spend(grant)
            if reason is not None:
                self._listen(Returned(grant, reason))
