"""A terminal for tests: a child process in a real pty, its screen as text, keys to press."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte


class Terminal:
    """Made by `terminal`."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, columns: int, lines: int) -> None:
        self.process = process
        self._fd = fd
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """What stands on the screen now."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def until(self, *words: str, within_s: float = 60.0) -> str:
        """Wait until all the words are on the screen at once; the screen."""
        end = time.monotonic() + within_s
        while not all(word in self.text for word in words):
            assert time.monotonic() < end, f"{words} did not appear:\n{self.text}"
            if not self.read(0.1) and self.process.poll() is not None:
                assert all(word in self.text for word in words), f"it ended without {words}:\n{self.text}"
        return self.text

    def read(self, seconds: float) -> bool:
        """Draw what comes within that time; whether something came."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other side is closed
            return False
        self._stream.feed(data)
        return bool(data)

    @property
    def echoes(self) -> bool:
        """Whether keys are shown as they are typed, as a shell expects its terminal."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def end(self, within_s: float = 60.0) -> int:
        """Wait for the process; its exit status. What it still says is drawn."""
        end = time.monotonic() + within_s
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.returncode


@contextlib.contextmanager
def terminal(*words: str, env: dict[str, str], cwd: Path, columns: int = 140, lines: int = 40) -> Iterator[Terminal]:
    """`hotset` with these words in a terminal of that size; killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {k: v for k, v in env.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")} | {
        "TERM": "xterm-256color"
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hotset.cli", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours, columns, lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
