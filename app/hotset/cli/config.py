"""`hotset config` and `hotset init`: the settings in force, and a fleet file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotset.cli.output import AsJson, note, print_json, table


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show the settings in force.")(config)
    app.command(short_help="Write a fleet file to begin with.")(init)


def config(as_json: AsJson = False) -> None:
    """Show every setting and its value here and now. Addresses with passwords are not shown.

    Set them as HOTSET_NAME in the environment, or as name = value in hotset.toml.

    \b
    Example:  HOTSET_SCALE=0.05 hotset config
    """
    from dataclasses import fields

    from hotset.settings import Settings, load_settings

    settings = load_settings()
    values = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    shown = {k: v if isinstance(v, int | float | None) else str(v) for k, v in values.items()}
    if as_json:
        print_json(shown)
    else:
        typer.echo(table(("setting", "value"), shown.items()))


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("fleet.yaml"),
    as_json: AsJson = False,
) -> None:
    """Write a fleet file to begin with: one 4 GB GPU, three models, three queues. Never overwrites one.

    \b
    Example:  hotset init fleet.yaml
              HOTSET_FLEET=fleet.yaml hotset worker
    """
    from importlib.resources import files

    from hotset.errors import UsageError

    text = files("hotset").joinpath("classic.fleet.yaml").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists.", remedy="Give another name, or remove it first.") from None
    if as_json:
        print_json({"file": str(path)})
        return
    note(f'Wrote {path}. Use it: HOTSET_FLEET={path}, or `fleet = "{path}"` in hotset.toml.')
