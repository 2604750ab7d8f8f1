"""What a worker does beside its runs: a thread for each, begun and ended alike."""

from __future__ import annotations

import logging
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


class Absence:
    """Warns once that a server is away, and once that it is back: not at every try. For one thread."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lasts = False

    def begin(self, message: str, *args: object) -> None:
        """A try failed; `message` and `args` as in `logging`."""
        if not self._lasts:
            self._log.warning(message, *args)
        self._lasts = True

    def end(self, message: str, *args: object) -> None:
        """A try went well."""
        if self._lasts:
            self._log.warning(message, *args)
        self._lasts = False
