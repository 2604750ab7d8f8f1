"""What a worker does beside its runs: a thread for each, begun and ended alike."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """`_main` runs on a thread of its own until `_stopping` is set; it handles its own errors."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when it has ended, after ten wall seconds at most. Harmless when it never began."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @abstractmethod
    def _main(self) -> None: ...
