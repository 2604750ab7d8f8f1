"""A server process that we started: is it still ours, and how it is stopped.

A process id alone proves nothing: after a reboot it may belong to anyone. So the head of the command line
(binary and data folder) is part of a process's identity here, and nothing is signalled before it has been
compared.

Run as a script this file is the watchdog: it waits until its owner is gone and stops what the owner left
behind. Only the standard library is imported, so that the script starts in 20 ms and stays small.

Why a watchdog and not PR_SET_PDEATHSIG: that signal is sent when the *thread* that forked ends, not the
process, so that a server started from a pool's thread would die with it; and setting it needs code between
fork and exec, which is not safe in a program with threads. What the watchdog does not cover: being killed
together with its owner. Then the servers run on, and `Servers(home).stop()` finds them by their file.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

STEP = 0.02  # seconds between two looks at a process that is to go
PATIENCE = (20.0, 5.0, 5.0)  # seconds granted after the first, second and third signal
OWNER_POLL = 0.5  # seconds: the longest a killed owner goes unnoticed
RELEASE = b"release"


@dataclass(frozen=True)
class Process:
    """A server's process id, the head of its command line, and the signals that stop it, gentlest first."""

    pid: int
    command: tuple[str, ...]
    signals: tuple[int, ...]

    def alive(self) -> bool:
        """True while the process runs and is ours. A zombie has no command line: it counts as gone."""
        try:
            line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False
        return line.split(b"\0")[: len(self.command)] == [os.fsencode(word) for word in self.command]

    def send(self, number: int) -> None:
        """Signal the process if it is still ours."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except OSError:  # no pidfds (an old kernel, a strict sandbox): a small gap between look and signal
            if self.alive():
                os.kill(self.pid, number)
            return
        # The handle pins the process, so that what we look at is what we signal.
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)


def stop(process: Process, patience: Sequence[float] = PATIENCE) -> bool:
    """Send the process's signals in order until it is gone; False if it outlived them all."""
    if not process.alive():
        return True
    for number, seconds in zip(process.signals, patience, strict=False):
        process.send(number)
        if wait_until(lambda: not process.alive(), seconds):
            with contextlib.suppress(ChildProcessError):  # not our child, or waited for elsewhere
                os.waitpid(process.pid, os.WNOHANG)
            return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP)
    return True


class Watchdog:
    """Stops the guarded processes, the last one first, once the process that made it is gone."""

    def __init__(self) -> None:
        # A session of its own: the Ctrl-C that ends the owner must not end the watchdog first.
        self._child = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-E", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            bufsize=0,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def guard(self, process: Process) -> None:
        self._say(json.dumps(asdict(process)).encode())

    def release(self) -> None:
        """Send the watchdog away without stopping anything."""
        self._say(RELEASE)
        assert self._child.stdin is not None  # noqa: S101 - it was made with a pipe
        self._child.stdin.close()
        self._child.wait()

    def _say(self, line: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101
        # Without its reader (somebody ended the watchdog) the servers are still stopped in the ordinary way.
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(line + b"\n")


def _watch(owner: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded: list[Process] = []
    for line in _lines_until_gone(owner):
        if line == RELEASE:
            return
        said = json.loads(line)
        guarded.append(Process(said["pid"], tuple(said["command"]), tuple(said["signals"])))
    for process in reversed(guarded):
        stop(process)


def _lines_until_gone(owner: int) -> list[bytes]:
    """Everything that the owner said, once it is gone or has released us.

    The pipe's end alone would not do: a forked child of the owner holds the other end open.
    """
    said = b""
    while True:
        gone = os.getppid() != owner
        readable, _, _ = select.select([0], [], [], 0 if gone else OWNER_POLL)
        chunk = os.read(0, 65536) if readable else b""
        said += chunk
        if (readable and not chunk) or (gone and not readable):
            return said.splitlines()


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
