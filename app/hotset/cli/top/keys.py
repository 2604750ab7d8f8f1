"""Single keys from a terminal, without Enter; the terminal is as before at the end."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from typing import Any


class Keys:
    def __init__(self) -> None:
        self._fd: int | None = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] = []

    def __enter__(self) -> Keys:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str | None:
        """The next key within that time, or None."""
        if self._fd is None:
            time.sleep(seconds)
            return None
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return None
        pressed = os.read(self._fd, 1)
        if not pressed:  # the terminal is gone
            return "q"
        return pressed.decode("ascii", "replace").lower()
