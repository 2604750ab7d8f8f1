"""What Postgres and Valkey have in common: one server process on one data folder.

A data folder looks like this, for either kind:

    <data_dir>/data     what the server writes; 0700, the account's own
    <data_dir>/lock     held locked by the server itself, which inherits the descriptor: two never share data
    <data_dir>.log      its output, the last 10 MB or so
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from hotset.embedded.accounts import Account, reachable_folder, reachable_program, server_account
from hotset.embedded.process import STEP, Process, Watchdog, stop
from hotset.embedded.wheels import Program
from hotset.errors import Unavailable

LOG_LIMIT = 10_000_000  # bytes; a longer log is put aside as <name>.log.1 at the next start
TAIL = 15  # lines of the log shown in an error


class Server(ABC):
    """A server that runs inside `with`, or from `start()` to `stop()`.

    It is also stopped when this process ends without a word (SIGKILL), unless `release()` has let it go.
    One object belongs to one thread.
    """

    kind: ClassVar[str]
    binary: ClassVar[str]
    signals: ClassVar[tuple[int, ...]]
    error: ClassVar[type[Unavailable]]
    ready_within: ClassVar[float]

    def __init__(self, data_dir: Path | str) -> None:
        self.wanted_dir = Path(data_dir).expanduser().resolve()
        self.data_dir = self.wanted_dir
        self.log = self.wanted_dir.with_name(f"{self.wanted_dir.name}.log")
        self.process: Process | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._owner = os.getpid()

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of the running server."""

    @abstractmethod
    def _program(self) -> Program: ...

    @abstractmethod
    def _prepare(self, program: Program, account: Account) -> None:
        """Make the data folder ready for a first or a further start."""

    @abstractmethod
    def _arguments(self) -> list[str]:
        """The command line after the binary; its first two words name the data folder."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the process that we started serves requests."""

    def _clear(self) -> None:  # noqa: B027 - most servers leave nothing behind
        """Remove what only the running server needed."""

    @property
    def data(self) -> Path:
        return self.data_dir / "data"

    def start(self) -> Self:
        """Start and wait until the server answers; its errors carry the end of the log. Twice is no error."""
        if self.process:
            return self
        self._owner = os.getpid()
        try:
            account = server_account(self.wanted_dir / "data")
            self.data_dir = reachable_folder(self.wanted_dir, account)
            account = server_account(self.data)
            program = reachable_program(self._program(), account, self.binary)
            lock = self._lock()
            try:
                self._prepare(program, account)
                self._spawn(program, account, lock)
            finally:
                os.close(lock)
            self._wait()
        except OSError as error:
            self.stop()
            raise self.error(
                f"{self.kind} did not start in {self.data_dir}: {error}.",
                remedy="Mend that, or choose another home.",
            ) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server if it runs. In a forked child this does nothing: the server is the parent's."""
        if os.getpid() != self._owner:
            return
        process, self.process = self.process, None
        if process and not stop(process):
            raise self.error(
                f"{self.kind} (process {process.pid}) does not stop.",
                remedy=f"Look into {self.log}.",
            )
        if self._child:
            if process is None:  # interrupted between its start and our note of it
                self._child.kill()
            self._child.wait()
            self._child = None
        if self._watchdog:
            self._watchdog.release()
            self._watchdog = None
        self._clear()

    def release(self) -> None:
        """Let the server run on when this process ends. `process` is what it takes to stop it later."""
        if self._watchdog:
            self._watchdog.release()
            self._watchdog = None
        if self._child:
            # A Popen that is dropped while its process runs warns of a leak; this one says that it has ended.
            self._child.returncode = 0
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _lock(self) -> int:
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise self.error(
                f"Another {self.kind} already runs on {self.data_dir}.",
                remedy="`hotset down` stops it; or choose another home.",
            ) from None
        return lock

    def _spawn(self, program: Program, account: Account, lock: int) -> None:
        command = [str(program.binary(self.binary)), *self._arguments()]
        self._watchdog = Watchdog()
        output = _open_log(self.log)
        try:
            # A session of its own: Ctrl-C in the terminal reaches us, and we stop the servers in order.
            self._child = subprocess.Popen(  # noqa: S603 - our own binaries
                command,
                cwd=self.data,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A limit on the size of files is a failed write to it, as a full disk is, and not its death by SIGXFSZ.
                restore_signals=False,
                pass_fds=(lock,),
                umask=0o077,
                **account.run_as,
            )
        finally:
            os.close(output)
        self.process = Process(self._child.pid, tuple(command[:3]), self.signals)
        self._watchdog.guard(self.process)

    def _wait(self) -> None:
        assert self._child is not None  # noqa: S101 - _spawn has set it
        deadline = time.monotonic() + self.ready_within
        while not self._answers():
            status = self._child.poll()
            if status is not None:
                raise self._failed(f"ended with status {status}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {self.ready_within:.0f} s")
            time.sleep(STEP)

    def _failed(self, how: str) -> Unavailable:
        return self.error(
            f"{self.kind} {how}. The end of {self.log}:\n{log_tail(self.log)}\n",
            remedy="Mend what the log names, or choose another home.",
        )


def clean_environment() -> dict[str, str]:
    """Ours, without what would change a server behind our back (PGPORT, PGDATA, PGOPTIONS, locales, ...)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def log_tail(path: Path, lines: int = TAIL) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
