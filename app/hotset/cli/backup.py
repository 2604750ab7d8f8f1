"""`hotset backup` and `hotset restore`: the embedded data in one file."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, note, print_json
from hotset.cli.servers import Home, embedded_servers

if TYPE_CHECKING:
    from hotset.embedded import Servers

_WAITING = ("scheduled", "blocked", "queued")


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Write the embedded data to a file.")(backup)
    app.command(short_help="Bring a backup back.")(restore)


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write jobs, results and audit of the embedded Postgres to one compressed file, while everything runs.

    The file is a picture of one moment. Broker and cache need no backup: Postgres is the truth, and what waits is
    published from it. It holds every prompt and answer, so only you may read it. With a Postgres of your own use
    pg_dump.

    \b
    Example:  hotset backup hotset-$(date +%F).backup
    """
    from hotset.embedded.backup import back_up

    with _servers(home) as servers, _bar(f"Backing up to {file}") as progress:
        size = back_up(servers.database_url, file.absolute(), progress=progress)
    if as_json:
        print_json({"file": str(file), "bytes": size})
        return
    note(f"Wrote {file}, {size / 1024:,.0f} KiB. Bring it back: hotset restore {file}")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `hotset backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Even if there are jobs: they are lost.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back: into an empty home, or with --replace in the place of what is there.

    Stop the workers first. Jobs that ran at the moment of the backup run again, which counts as no failure. Workers
    started afterwards publish everything that waits; finished results are there at once. A backup of an older hotset is
    brought up to date. If it fails, what was there before is still there.

    \b
    Example:  hotset restore hotset-2026-11-21.backup
              hotset up
              hotset worker
    """
    from hotset.embedded import backup as embedded

    with _servers(home) as servers, _bar(f"Restoring {file}") as progress:
        actor = f"{getpass.getuser()} (hotset restore)"
        restored = embedded.restore(
            servers.database_url, file.absolute(), actor=actor, replace=replace, progress=progress
        )
    if as_json:
        print_json({"file": str(file), "jobs": restored.jobs, "states": restored.states})
        return
    waiting = sum(restored.states.get(state, 0) for state in _WAITING)
    note(f"Restored {restored.jobs} jobs, {waiting} of them waiting. Start (again): hotset up; hotset worker")


@contextmanager
def _servers(home: Path | None) -> Iterator[Servers]:
    """The servers of the home; started for as long as it takes when they do not run."""
    from hotset.settings import load_settings

    place = load_settings(home=home).home
    embedded = embedded_servers()
    running = embedded.running(place)
    if running is not None:
        yield running
        return
    with embedded(place) as started:
        yield started


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=None, shown="")

        def progress(done: int, total: int | None) -> None:
            shown = f"{done / 1024:,.0f} KiB" if total is None else f"{done} of {total}"
            bars.update(task, completed=done, total=total, shown=shown)

        yield progress
