"""Connections, threads and locks do not survive a fork: in a child process every client makes its own anew."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    def forked(self) -> None:
        """Called in the child, before anything else there: only forget, touch no lock of the parent."""


_ALL: WeakSet[Forked] = WeakSet()


def note(holder: Forked) -> None:
    """Tell it of forks for as long as it lives."""
    _ALL.add(holder)


def _in_child() -> None:
    for holder in list(_ALL):
        holder.forked()


os.register_at_fork(after_in_child=_in_child)
