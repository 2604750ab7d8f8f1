"""`hotset models`: the fleet's models, and where they are now."""

from __future__ import annotations

import typer

from hotset.cli.output import AsJson, print_json, table


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show the models: sizes, where they are.")(models)


def models(as_json: AsJson = False) -> None:
    """Show each model: its size in the fleet file and as measured in VRAM, where it is, what asks for it.

    The measured size comes from the model server of a GPU that holds it. A model of others, loaded by another client of
    the model server, is shown too.

    \b
    Example:  hotset models
              hotset models --json
    """
    from hotset.cli.now import models_now
    from hotset.client import Client

    with Client() as client:
        found = models_now(client)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            m["name"],
            _mb(m["size_mb"]),
            _mb(m["measured_mb"]),
            ", ".join([*m["resident_on"], *(f"{gpu} (loading)" for gpu in m["loading_on"])]) or "-",
            m["requests"],
            ", ".join(m["queues"]) or ("-" if m["in_fleet"] else "not of this fleet"),
            m["waiting"],
        )
        for m in found
    ]
    typer.echo(table(("model", "fleet MiB", "measured MiB", "resident on", "requests", "queues", "waiting"), rows))


def _mb(size: float | None) -> str:
    return "-" if size is None else f"{size:,.0f}"
