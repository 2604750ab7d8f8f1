"""The command line as a user has it: words and environment in; two outputs and an exit status out."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from hotset.cli import main
from stack import Stack


@pytest.fixture
def hotset(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CompletedProcess[str]]:
    """`hotset("run", ...)` on the test's own database, broker and cache; keywords are environment variables.

    In this process, by the very function that the program calls: a process each would cost minutes of imports.
    """
    _fleet(stack)
    monkeypatch.chdir(stack.folder)

    def run(*words: str, stdin: str = "", **environ: str) -> CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        status: Any = 0
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("HOTSET_", "OLLAMA_"))]:
                patch.delenv(name)
            for name, value in (stack.env | environ).items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", ["hotset", *words])
            patch.setattr("sys.stdin", io.StringIO(stdin))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as e:
                    status = e.code or 0
        return CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def start(stack: Stack) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """As `hotset`, but as a process, left running; killed with the test."""
    _fleet(stack)
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, **environ: str) -> subprocess.Popen[str]:
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "hotset.cli", *words]
        started.append(subprocess.Popen(command, env=stack.env | environ, cwd=stack.folder, **how))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _fleet(stack: Stack) -> None:
    """A fleet file and its model server, once a test."""
    if not stack.fleet_path.exists():
        stack.fleet()
