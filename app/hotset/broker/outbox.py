"""A thread that sends in order what others hand it, so that none of them waits for the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_LONGEST = 100_000


class Outbox:
    """`put` never blocks and never raises; `close` sends what is left. `send` must handle its own errors."""

    def __init__(self, name: str) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_LONGEST)
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def put(self, send: Callable[[], None]) -> bool:
        """False when it is full: the receiver has been away for long, and will look in Postgres."""
        try:
            self._queue.put_nowait(send)
        except queue.Full:
            return False
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what is left, for at most that many wall seconds."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout=timeout_s)

    def _main(self) -> None:
        while (send := self._queue.get()) is not None:
            send()
