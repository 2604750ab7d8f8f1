"""`hotset serve`: a model server with a simulated GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json

if TYPE_CHECKING:
    from hotset.fleet import Fleet
    from hotset.modelserver.admission import Admission
    from hotset.modelserver.profiles import Profile


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Serve a simulated GPU with Ollama's API.")(serve)


def serve(
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate the GPU (the only kind so far).")] = False,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help="A model, no fleet file needed: NAME=SIZE[,load=3s][,rate=60][,context=8k][,answer=200]. Repeat it.",
        ),
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Profile file: answer lengths, prompt rate, first token, capabilities.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="The GPU of the fleet; needed if it has several.")] = None,
    vram: Annotated[float | None, typer.Option(min=1, help="Usable VRAM in MB, instead of the fleet's.")] = None,
    scale: Annotated[float | None, typer.Option(help="Wall seconds per model second; 0.05 is 20 x faster.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", help="What goes wrong on its own: NAME[@MODEL]:SHARE, SHARE 0.02 or 1/50. Repeat it."),
    ] = None,
    faults: Annotated[Path | None, typer.Option("--faults", help="Fault file: such shares, and the seed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the faults: the same one gives the same faults.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write a trace of what happens to this file.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11434,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    admission: Annotated[str, typer.Option(help="exact: the fleet's sizes; ollama: its 80 % rule.")] = "exact",
    as_json: AsJson = False,
) -> None:
    """Serve Ollama's API from a simulated GPU: real HTTP, loads, evictions and queues; words without meaning.

    Any program that speaks to Ollama can be rehearsed with it, without a GPU. --scale must be that of hotset's workers
    and clients (HOTSET_SCALE). With --json one object with the address is printed as soon as it listens. Faults can
    also be switched while it runs: POST /hotset/faults, from this machine only (docs/model-server.md).

    \b
    Examples:
      hotset serve --simulate                                    the classic 4 GB GPU with three models
      hotset serve --simulate --models llama3.2=2000MB,load=3s,rate=60 --models gemma3=3300MB --vram 4000
      hotset serve --simulate --profile profile.yaml --scale 0.05 --log trace.jsonl
      hotset serve --simulate --fault load_crash:1/50 --fault stall:0.01 --seed 7
      curl http://127.0.0.1:11434/api/chat -d '{"model": "tinyllama", "messages": [{"role": "user", "content": "hi"}]}'
    """
    from hotset.cli.fleet import the_fleet, the_gpu
    from hotset.errors import UsageError
    from hotset.settings import load_settings

    if not simulate:
        raise UsageError(
            "Only simulated GPUs are served so far.", remedy="Add --simulate, or use Ollama as the model server."
        )
    if admission not in ("exact", "ollama"):
        raise UsageError(f"There is no admission {admission!r}.", remedy="Choose exact or ollama.")
    try:
        from hotset.modelserver import serve as serve_forever
    except ModuleNotFoundError as e:
        raise UsageError(
            f"The model server needs {e.name}.", remedy="Install it: pip install 'hotset[modelserver]'."
        ) from e

    settings = load_settings(fleet=fleet, gpu=gpu)
    quick = _quick(models or [])
    chosen = _quick_fleet(quick) if quick and settings.fleet is None else the_fleet(settings)
    name = the_gpu(chosen, settings.gpu).name
    if vram is not None:
        chosen = replace(chosen, gpus=tuple(replace(g, vram_mb=vram) if g.name == name else g for g in chosen.gpus))
    shares, file_seed = _shares(fault or [], faults)
    rate = settings.scale if scale is None else scale

    def ready(url: str) -> None:
        if as_json:
            print_json({"url": url, "gpu": name, "scale": rate, "simulated": True})
        note(f"{SIMULATED} GPU {name} at {url}, {rate:g} s per model second. Ctrl-C stops it.")

    serve_forever(
        chosen,
        name,
        host=host,
        port=port,
        ready=ready,
        scale=rate,
        log=log,
        admission=cast("Admission", admission),
        profiles=_profiles(chosen, quick, profile),
        faults=shares,
        fault_seed=file_seed if seed is None else seed,
    )
    # It returns when Ctrl-C stopped it.
    raise typer.Exit(130)


def _quick(texts: list[str]) -> dict[str, Profile]:
    """The models of --models."""
    from hotset.errors import UsageError
    from hotset.modelserver.profiles import quick_profile

    profiles = [quick_profile(text) for text in texts]
    if len({each.name for each in profiles}) < len(profiles):
        raise UsageError("--models names a model twice.", remedy="Keep one of the two.")
    return {each.name: each for each in profiles}


def _quick_fleet(quick: dict[str, Profile]) -> Fleet:
    """One GPU for them: the classic one, or a larger one if a model needs it."""
    from hotset.fleet import Fleet, Gpu
    from hotset.fleet_file import classic_fleet

    classic = classic_fleet().gpus[0]
    vram_mb = max(classic.vram_mb, *(each.model.size_mb for each in quick.values()))
    return Fleet((Gpu(classic.name, vram_mb, classic.slots),), {each.name: each.model for each in quick.values()}, {})


def _profiles(fleet: Fleet, quick: dict[str, Profile], file: Path | None) -> dict[str, Profile]:
    """What is served otherwise than the fleet says; the file has the last word."""
    from hotset.modelserver.profile_file import read_profiles
    from hotset.modelserver.profiles import join

    return quick if file is None else quick | read_profiles(file, join(fleet, quick))


def _shares(said: list[str], file: Path | None) -> tuple[dict[str, Any], int]:
    """The faults of --faults and --fault, and the file's seed."""
    from hotset.modelserver.fault_file import read_faults
    from hotset.modelserver.faults import parse_switch

    shares, seed = read_faults(file) if file is not None else ({}, 0)
    for text in said:
        name, _, share = text.rpartition(":") if ":" in text else (text, "", "1")
        parse_switch(name, share)
        shares[name] = share
    return shares, seed
