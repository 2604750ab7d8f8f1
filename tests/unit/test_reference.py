"""docs/ says what the code does: the reference is made from it, commands and links in the texts exist."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from hotset.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TEXTS = sorted(p for p in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")] if p.is_file())
WRITTEN = [p for p in TEXTS if p.parent.name != "reference"]


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made: dict[str, str] = _maker().pages()
    return made


@pytest.mark.parametrize("name", ["settings.md", "commands.md", "errors.md", "fleet-file.md", "api.md"])
def test_the_reference_is_up_to_date(pages: dict[str, str], name: str) -> None:
    assert (DOCS / "reference" / name).read_text("utf-8") == pages[name], "make reference"


def test_the_reference_is_whole(pages: dict[str, str]) -> None:
    assert set(pages) == {p.name for p in (DOCS / "reference").glob("*.md")}
    assert "| `keep_jobs_days` | `30` |" in pages["settings.md"]
    assert "## hotset backup" in pages["commands.md"] and "| `--replace` |" in pages["commands.md"]
    assert "`IdempotencyConflict`" in pages["errors.md"] and "`vram_mb`" in pages["fleet-file.md"]
    assert "### Client.submit()" in pages["api.md"] and "idempotency_key" in pages["api.md"]
    assert not re.search(r"hunter2|0x[0-9a-f]{6}", "".join(pages.values()))


@functools.cache
def _root() -> Any:
    return typer.main.get_command(app)


def _path_is_a_command(words: list[str]) -> bool:
    command = _root()
    for word in words:
        if not hasattr(command, "commands") or word.startswith("-") or not re.fullmatch(r"[a-z]+", word):
            break
        if word not in command.commands:
            return False
        command = command.commands[word]
    return True


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_texts_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    blocks = re.findall(r"```(?:sh|console|)\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        words = re.split(r"\s+#|[;|&]", line)[0].split()
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words and words[0] in ("hotset", ".venv/bin/hotset"):
            assert _path_is_a_command(words[1:]), f"{path.name}: {shlex.join(words)}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        path = ahead.pop().resolve()
        if path in reached or path.suffix != ".md" or not path.is_file():
            continue
        reached.add(path)
        ahead += [path.parent / t for t in re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8")) if "://" not in t]
    assert {p.relative_to(ROOT) for p in TEXTS if p.resolve() not in reached} == {Path("CHANGELOG.md")}
