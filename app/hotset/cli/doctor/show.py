"""How findings look: a line each, a remedy below what is not well, a sum at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from hotset.cli.doctor.finding import Finding, Status

_MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "warning": ("!", "!", "yellow"),
    "failed": ("✗", "X", "red"),
    "skipped": ("·", "-", "bright_black"),
}


def show(findings: Sequence[Finding], took_s: float) -> None:
    width = max(len(f.name) for f in findings)
    for finding in findings:
        typer.echo(f"{_mark(finding.status)} {finding.name.ljust(width)}  {finding.found}")
        if finding.remedy:
            typer.echo(f"  {' ' * width}  -> {finding.remedy}")
    counts = Counter(f.status for f in findings)
    said = ", ".join(f"{counts[status]} {_mark(status)}" for status in _MARKS if counts[status])
    typer.echo(f"\n{said} in {took_s:.1f} s")


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    checks = [{"name": f.name, "status": f.status, "found": f.found, "remedy": f.remedy, "ms": f.ms} for f in findings]
    return {"ok": well(findings), "checks": checks}


def well(findings: Sequence[Finding]) -> bool:
    return all(f.status != "failed" for f in findings)


@contextmanager
def progress() -> Iterator[Any]:
    """On a terminal: a line that names what still runs. Yields a function of those names."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Looking ...") as status:
        yield lambda running: status.update(f"Looking at {', '.join(running)} ...")


def _mark(status: Status) -> str:
    """Coloured on a terminal; in letters where the output cannot write the signs."""
    sign, letters, colour = _MARKS[status]
    try:
        sign.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        sign = letters
    return typer.style(sign, fg=colour)
