"""`hotset gpus`: what each GPU holds and does; pause and resume."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hotset.cli.completion import complete_gpus
from hotset.cli.output import SIMULATED, AsJson, print_json, table
from hotset.cli.pausing import Reason, pause_one, resume_one

Gpu = Annotated[str, typer.Argument(metavar="GPU", help="A GPU of the fleet.", autocompletion=complete_gpus)]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="The GPUs: what they hold; pause.")
    group.callback()(bare)
    group.command("list")(list_gpus)
    group.command("pause")(pause)
    group.command("resume")(resume)
    app.add_typer(group, name="gpus")


def bare(context: typer.Context, as_json: AsJson = False) -> None:
    """What they hold and do; pause and resume. Without a command the GPUs are listed."""
    if context.invoked_subcommand is None:
        list_gpus(as_json)


def list_gpus(as_json: AsJson = False) -> None:
    """List the GPUs: slots, the models in VRAM with the requests on them, swaps since the worker started.

    \b
    Example:  hotset gpus
              hotset gpus list --json
    """
    from hotset.cli.now import gpus_now
    from hotset.client import Client

    with Client() as client:
        found = gpus_now(client)
    if as_json:
        print_json(found)
        return
    typer.echo(table(("gpu", "doing", "busy", "VRAM MiB", "hot set", "swaps"), [_row(gpu) for gpu in found]))
    if any(gpu["simulated"] for gpu in found):
        typer.echo(f"\n{SIMULATED}: the model server simulates its GPU; its words mean nothing.")


def pause(name: Gpu, reason: Reason = "", as_json: AsJson = False) -> None:
    """Start and load nothing more on a GPU; what runs ends, other GPUs take over. It lasts until `resume`.

    \b
    Example:  hotset gpus pause gpu1 --reason "fan is noisy"
    """
    pause_one("gpu", name, reason, as_json=as_json)


def resume(name: Gpu, as_json: AsJson = False) -> None:
    """Let a paused GPU work again.

    \b
    Example:  hotset gpus resume gpu1
    """
    resume_one("gpu", name, as_json=as_json)


def _row(gpu: dict[str, Any]) -> tuple[object, ...]:
    name = f"{gpu['name']} ({SIMULATED})" if gpu["simulated"] else gpu["name"]
    if not gpu["alive"]:
        return name, "paused, no worker" if gpu["paused"] else "no worker", None, f"{gpu['vram_mb']:,.0f}", None, None
    held = ", ".join(f"{m} {r['mb']:,.0f} MiB ({r['requests']})" for m, r in gpu["residents"].items())
    return (
        name,
        doing(gpu),
        f"{gpu['busy']} of {gpu['slots']}",
        f"{gpu['used_mb']:,.0f} of {gpu['vram_mb']:,.0f}",
        held or "nothing",
        gpu["swaps"],
    )


def doing(gpu: dict[str, Any]) -> str:
    """In a word or two."""
    if gpu["paused"]:
        return f"paused, {gpu['busy']} still running" if gpu["busy"] else "paused"
    if gpu["loading"]:
        return f"loading {gpu['loading']}"
    return "running" if gpu["busy"] else "idle"
