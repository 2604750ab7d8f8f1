"""`hotset demo`: 131 agents through one small GPU, on real servers, from start to summary in one command."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from hotset.cli.output import AsJson, note, print_json


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Watch 131 agents share one small GPU.")(demo)


def demo(
    rounds: Annotated[int, typer.Option(min=1, max=3, help="Prompts for each agent.")] = 1,
    scale: Annotated[
        float | None, typer.Option(min=0.001, help="Wall seconds per model second on the simulated GPU (default 0.07).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database and logs.")] = False,
    home: Annotated[Path | None, typer.Option(help="The folder for them (default: a new one below .hotset).")] = None,
    as_json: AsJson = False,
) -> None:
    """All agents of the catalogue submit a real prompt each; one GPU worker drains them, batched by model.

    Starts Postgres, two Valkeys, a model server, a worker and Flower, and stops them again. An Ollama server at
    OLLAMA_HOST that has the fleet's models is used; otherwise a simulated GPU, and every screen says so.

    \b
    Example:  hotset demo
              hotset demo --rounds 3 --json
    """
    from hotset.cli.demo.show import watch
    from hotset.cli.demo.summary import as_text, summarise
    from hotset.cli.demo.world import DEFAULT_SCALE, open_world

    # Ended from outside is ended in order, like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    summary: dict[str, Any]
    with open_world(home, scale=scale or DEFAULT_SCALE, keep=keep) as world:
        jobs = world.submit(rounds)
        watch(world, jobs)
        summary = summarise(world, jobs)
    if as_json:
        print_json(summary)
    else:
        typer.echo(as_text(summary))
    if not summary["exactly_once"]:
        note("error: not every job ended exactly once; --keep keeps the database to look into.")
        raise typer.Exit(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
