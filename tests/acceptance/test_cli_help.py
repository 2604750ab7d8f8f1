"""Every command teaches by example and speaks JSON; the shell completes names without a server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hotset.cli.main import app

#: They print no data: one becomes Celery's worker.
NO_DATA = {"worker", "workload", "export"}  # the last two print JSON Lines, for files


def commands(node: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(node, "commands"):
        for name, child in node.commands.items():
            yield from commands(child, *path, name)
    else:
        yield path, node


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_of_the_command_itself(path: tuple[str, ...]) -> None:
    said = COMMANDS[path].help or ""
    example = re.split(r"Examples?:", said, maxsplit=1)[-1]
    assert f"hotset {' '.join(path)}" in example, said
    assert COMMANDS[path].get_short_help_str(limit=200)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_whoever_prints_data_can_print_json(path: tuple[str, ...]) -> None:
    flags = {flag for parameter in COMMANDS[path].params for flag in parameter.opts}
    assert "--json" in flags or path[-1] in NO_DATA


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        assert getattr(parameter, "help", None), parameter.name


def complete(folder: Path, *words: str, environ: dict[str, str] | None = None) -> list[str]:
    """What bash would be given, with no server in reach."""
    nowhere = {
        "HOTSET_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x",
        "HOTSET_BROKER_URL": "redis://127.0.0.1:9/0",
    }
    asked = {"_HOTSET_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOTSET_")} | nowhere | asked | (environ or {})
    program = "import sys; sys.argv = ['hotset']; from hotset.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=env, cwd=folder, capture_output=True, text=True)
    assert done.stderr == "", done.stderr
    return done.stdout.split()


def test_the_shell_completes_commands_and_names(tmp_path: Path) -> None:
    assert complete(tmp_path, "hotset", "queues", "pause", "qw") == ["qwen"]
    assert "senior-backend-developer" in complete(tmp_path, "hotset", "agents", "show", "senior-b")
    assert complete(tmp_path, "hotset", "jobs", "list", "--state", "quar") == ["quarantined"]
    # Settings that are wrong complete nothing, and say nothing in between.
    assert complete(tmp_path, "hotset", "queues", "pause", "", environ={"HOTSET_FLEET": "gone.yaml"}) == []


def test_the_script_is_one_that_bash_reads() -> None:
    for shell in ("bash", "zsh", "fish"):
        said = json.loads(CliRunner().invoke(app, ["completion", shell, "--json"]).stdout)
        assert "_HOTSET_COMPLETE" in said["script"] and f"hotset completion {shell}" in said["use"]
        if shell == "bash":
            subprocess.run(["bash", "-n"], input=said["script"], text=True, check=True)
