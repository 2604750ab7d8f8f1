"""Ends runs whose model server keeps the connection busy and says nothing.

The HTTP client has time limits of its own, between two pieces of data. They never come to an end when something drips,
a proxy that keeps connections alive, say. So each run says until when it waits for its next token, and one
thread looks.
"""

from __future__ import annotations

import threading
import time

from hotset_worker.runs import ActiveRuns

_LOOK_S = 0.25
#: Wall seconds that the HTTP client's own limit gets, whose errors say more.
GRACE_S = 1.0


class Watchdog:
    """Closes the socket of a run that is overdue, whatever its thread is blocked in."""

    def __init__(self, runs: ActiveRuns) -> None:
        self._runs = runs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="hotset-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def look(self, now: float) -> None:
        for run in self._runs.all():
            if now >= run.waits_until:
                run.end("hung", "nothing came in time, though its connection stayed open")

    def _main(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.look(time.monotonic())
