"""`hotset serve`: a model server with a simulated GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json

if TYPE_CHECKING:
    from hotset.modelserver.admission import Admission


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Serve a simulated GPU with Ollama's API.")(serve)


def serve(
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the GPU (the only kind so far).")] = False,
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    gpu: Annotated[str | None, typer.Option(help="The GPU of the fleet; needed if it has several.")] = None,
    scale: Annotated[float | None, typer.Option(help="Wall seconds per model second; 0.05 is 20 x faster.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write a trace of what happens to this file.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11434,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    admission: Annotated[str, typer.Option(help="exact: the fleet's sizes; ollama: its 80 % rule.")] = "exact",
    as_json: AsJson = False,
) -> None:
    """Serve Ollama's API from a simulated GPU: real HTTP, loads, evictions and queues; words without meaning.

    --scale must be that of the workers and clients (HOTSET_SCALE). With --json one object with the address is
    printed as soon as it listens.

    \b
    Example:  hotset serve --simulate --scale 0.05 --log trace.jsonl
              curl http://127.0.0.1:11434/api/ps
    """
    from hotset.cli.fleet import the_fleet, the_gpu
    from hotset.errors import UsageError
    from hotset.settings import load_settings

    if not simulate:
        raise UsageError(
            "Only simulated GPUs are served so far.", remedy="Add --simulate, or use Ollama as the model server."
        )
    settings = load_settings(fleet=fleet, gpu=gpu)
    chosen = the_fleet(settings)
    name = the_gpu(chosen, settings.gpu).name
    rate = settings.scale if scale is None else scale
    if admission not in ("exact", "ollama"):
        raise UsageError(f"There is no admission {admission!r}.", remedy="Choose exact or ollama.")
    try:
        from hotset.modelserver import serve as serve_forever
    except ModuleNotFoundError as e:
        raise UsageError(
            f"The model server needs {e.name}.", remedy="Install it: pip install 'hotset[modelserver]'."
        ) from e

    def ready(url: str) -> None:
        if as_json:
            print_json({"url": url, "gpu": name, "scale": rate, "simulated": True})
        note(f"{SIMULATED} GPU {name} at {url}, {rate:g} s per model second. Ctrl-C stops it.")

    how = cast("Admission", admission)
    serve_forever(chosen, name, host=host, port=port, ready=ready, scale=rate, log=log, admission=how)
    # It returns when Ctrl-C stopped it.
    raise typer.Exit(130)
