"""`hotset status`: queues and GPUs now."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from hotset.cli.output import SIMULATED, AsJson, print_json, table
from hotset.cli.swaps import last_hour, say_hour

if TYPE_CHECKING:
    from hotset.broker import GpuState
    from hotset.client import Client
    from hotset.settings import Settings

_STATES = ("scheduled", "blocked", "queued", "running", "succeeded", "failed", "cancelled", "expired", "quarantined")


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show queues and GPUs.")(status)


def status(as_json: AsJson = False) -> None:
    """Show the jobs of each queue by state, what each GPU holds, what is paused, goodput, and the versions.

    Goodput and the distance to unlimited VRAM: see `hotset swaps`.

    \b
    Example:  hotset status
              watch -n 1 hotset status
    """
    from hotset.client import Client

    with Client() as client:
        counts = {queue: {**dict.fromkeys(_STATES, 0), **found} for queue, found in client.counts().items()}
        for queue in client.fleet.queues:
            counts.setdefault(queue, dict.fromkeys(_STATES, 0))
        gpus = read_gpus(client.settings)
        pauses = client.pauses()
        known = versions(client)
        hour = last_hour(client)
    if as_json:
        print_json(
            {
                "queues": counts,
                "gpus": {name: asdict(gpu) for name, gpu in gpus.items()},
                "paused": [asdict(pause) for pause in pauses],
                "last_hour": hour,
                "versions": known,
            }
        )
        return
    shown = [s for s in _STATES if s in ("queued", "running", "succeeded") or any(c[s] for c in counts.values())]
    typer.echo(table(("queue", *shown), [(queue, *(found[s] for s in shown)) for queue, found in counts.items()]))
    typer.echo("")
    if gpus:
        typer.echo(table(("gpu", "busy", "hot set", "doing", "swaps"), [_row(gpu) for gpu in gpus.values()]))
    else:
        typer.echo("No GPU worker is running. Start one: hotset worker")
    for gpu in gpus.values():
        for model, why in gpu.unhealthy.items():
            typer.echo(f"GPU {gpu.name}: {model} is loaded and generates nothing; it gets no jobs: {why}")
    for pause in pauses:
        what = f"GPU {pause.name}" if pause.kind == "gpu" else f"Queue {pause.name}"
        why = f": {pause.reason}" if pause.reason else ""
        typer.echo(f"{what} is paused since {pause.since:%Y-%m-%d %H:%M} UTC by {pause.by}{why}")
    if (said := say_hour(hour)) is not None:
        typer.echo(f"\n{said}")
    typer.echo("\n" + ", ".join(f"{name} {version or 'unknown'}" for name, version in known.items()))
    if any(gpu.simulated for gpu in gpus.values()):
        typer.echo(f"\n{SIMULATED}: the model server simulates its GPU; its words mean nothing.")


def versions(client: Client) -> dict[str, str | None]:
    """Of hotset, Postgres, the tables and the broker."""
    from hotset import __version__
    from hotset.store import overview

    return {"hotset": __version__, **overview.versions(client.engine), "broker": _broker_version(client.settings)}


def _broker_version(settings: Settings) -> str | None:
    import redis

    from hotset.broker import connect_redis

    with connect_redis(settings.broker_url.get_secret_value(), name="broker_url") as client:
        try:
            said: Any = client.info("server")
        except redis.RedisError:
            return None  # an account that may not ask
    return f"valkey {said['valkey_version']}" if "valkey_version" in said else f"redis {said.get('redis_version')}"


def read_gpus(settings: Settings) -> dict[str, GpuState]:
    """The GPUs whose workers are alive. Raises BrokerUnavailable."""
    from hotset.broker import Board, connect_redis
    from hotset.broker.lanes import reachable

    with connect_redis(settings.broker_url.get_secret_value(), name="broker_url") as client, reachable(client):
        return Board(client).read()


def _row(gpu: GpuState) -> tuple[str, str, str, str, int]:
    held = ", ".join(f"{model} ({mb:,.0f} MiB)" for model, (mb, _) in gpu.residents.items()) or "nothing"
    doing = f"loading {gpu.loading}" if gpu.loading else "running" if gpu.busy else "idle"
    doing += ", unhealthy" if gpu.unhealthy else ""
    name = f"{gpu.name} ({SIMULATED})" if gpu.simulated else gpu.name
    return name, f"{gpu.busy} of {gpu.slots}", f"{held} of {gpu.vram_mb:,.0f}", doing, gpu.swaps
