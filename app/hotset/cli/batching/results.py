"""The file of results: a line for each job that ended. What it holds is never asked again."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hotset.errors import UsageError

_BLOCK = 1 << 16


class Results:
    """Opened with `with`. `states`: the state by key of every line that was there. Without a path: standard output.

    A last line that a crash tore is cut off; its job is found again by its key. Raises UsageError when the file holds
    something else, or another batch writes to it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.states: dict[str, str] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Results:
        if self.path is not None:
            self._file = self.path.open("a+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._mend(self._file)
                self._read(self._file)
            except BlockingIOError:
                self._file.close()
                raise UsageError(
                    f"Another batch writes to {self.path}.", remedy="Wait for it, or give another file."
                ) from None
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add lines; they are with the system when it returns."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if self._file is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            self._file.write(text.encode("utf-8", "replace"))
            self._file.flush()

    @staticmethod
    def _mend(file: BinaryIO) -> None:
        """Cut off what follows the last line break."""
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < end:
            file.truncate(position)

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                self.states[row["key"]] = row["state"]
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"{self.path}, line {number}: this is no result of a batch.", remedy="Give another file with -o."
                ) from None
        file.seek(0, os.SEEK_END)
