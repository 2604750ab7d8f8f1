"""`hotset swaps`: every load of a model, why, and what it cost; goodput, and the distance to unlimited VRAM."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.completion import complete_gpus
from hotset.cli.output import AsJson, print_json, seconds, table
from hotset.cli.selecting import Limit

if TYPE_CHECKING:
    from hotset.client import Client
    from hotset.store.ledger import Day, Slots, Swap

_HOUR_S = 3600.0

Gpu = Annotated[str | None, typer.Option("--gpu", help="On this GPU.", autocompletion=complete_gpus)]
Model = Annotated[str | None, typer.Option("--model", help="Loads of this model.")]
Since = Annotated[str | None, typer.Option("--since", help="Decided since: 1h (ago), 2d, 2026-01-31T08:00Z.")]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show the swaps: why, what they cost, what they served.")(swaps)


def swaps(
    gpu: Gpu = None, model: Model = None, since: Since = None, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List the newest swaps: when, why, who was evicted, drain and load (model seconds), jobs served by the model.

    Then a line a day, and the last hour. Goodput is the part of the slot seconds with work present (a job waits or
    runs) in which a slot generated. A GPU of unlimited VRAM would never load and never drain: the part that loads and
    drains took of those slot seconds is the distance to it. The rest was idle: fewer jobs than slots, or jobs for other
    GPUs. Slot seconds are not kept by model. Both are kept for 90 days; a worker that is killed loses its last seconds.

    \b
    Example:  hotset swaps
              hotset swaps --gpu gpu0 --model deepseek-r1:8b --since 1d
              hotset swaps --json
    """
    from hotset.client import Client
    from hotset.jobs.filters import parse_time
    from hotset.store import ledger

    after = parse_time(since, "--since", datetime.now(UTC)) if since else None
    with Client() as client:
        _check(client.fleet.models, model)
        found = ledger.swaps(client.engine, gpu=gpu, model=model, since=after, limit=limit)
        days = ledger.days(client.engine, gpu=gpu, model=model, since=after)
        hour = last_hour(client, gpu)
    if as_json:
        print_json(
            {
                "swaps": [_swap(swap) for swap in found],
                "days": [_day(day) for day in days],
                "last_hour": hour,
            }
        )
        return
    head = ("decided", "gpu", "model", "in place of", "drain s", "load s", "jobs served", "stayed", "why")
    typer.echo(table(head, [_row(swap) for swap in found]) if found else "No swap was noted.")
    if days:
        typer.echo(
            "\n" + table(("day", "swaps", "failed", "jobs/swap", "load", "drain", "goodput"), map(_day_row, days))
        )
    typer.echo(f"\n{say_hour(hour) or 'In the last hour there was no work.'}")


def last_hour(client: Client, gpu: str | None = None) -> dict[str, Any]:
    """Goodput and what was lost, of all GPUs (or that one) together and of each."""
    from hotset.store import ledger
    from hotset.store.ledger import Slots

    lately = ledger.slots_lately(client.engine, within_s=_HOUR_S)
    if gpu is not None:
        lately = {name: slots for name, slots in lately.items() if name == gpu}
    return {
        **_slots(sum(lately.values(), Slots())),
        "gpus": {name: _slots(slots) for name, slots in lately.items()},
    }


def say_hour(hour: dict[str, Any]) -> str | None:
    """One line; None when there was no work."""
    if hour["goodput"] is None:
        return None
    return (
        f"Last hour: goodput {_part(hour['goodput'])}; {_part(hour['distance_to_unlimited'])} from unlimited VRAM "
        f"(loads {_part(hour['load_share'])}, drains {_part(hour['drain_share'])})."
    )


def _check(models: Any, model: str | None) -> None:
    """A mistyped model would find nothing in silence; models of other clients are in no ledger."""
    from hotset.errors import UnknownModel, did_you_mean

    if model is not None and model not in models:
        raise UnknownModel(f"The fleet has no model {model!r}.", remedy=did_you_mean(model, models, "hotset models"))


def _slots(slots: Slots) -> dict[str, Any]:
    return {**slots.shares(), "slot_s": asdict(slots)}


def _swap(swap: Swap) -> dict[str, Any]:
    return {**asdict(swap), "victims": list(swap.victims)}


def _day(day: Day) -> dict[str, Any]:
    shares = dict.fromkeys(("goodput", "load_share", "drain_share", "distance_to_unlimited"))
    return {
        "day": day.day.isoformat(),
        "swaps": day.swaps,
        "failed": day.failed,
        "jobs": day.jobs,
        "jobs_per_swap": day.jobs / day.swaps if day.swaps else None,
        "load_s": day.load_s,
        "drain_s": day.drain_s,
        **(shares if day.slots is None else day.slots.shares()),
    }


def _day_row(day: Day) -> tuple[object, ...]:
    shown = _day(day)
    per_swap = shown["jobs_per_swap"]
    return (
        shown["day"],
        day.swaps,
        day.failed,
        None if per_swap is None else f"{per_swap:.1f}",
        _part(shown["load_share"]),
        _part(shown["drain_share"]),
        _part(shown["goodput"]),
    )


def _row(swap: Swap) -> tuple[object, ...]:
    stayed = None
    if swap.ok and swap.ended_at is not None:
        stayed = "still there" if swap.left_at is None else f"until {swap.left_at:%H:%M:%S}"
    elif swap.ok is None:
        stayed = "under way"
    return (
        f"{swap.decided_at:%Y-%m-%d %H:%M:%S}",
        swap.gpu,
        swap.model,
        ", ".join(swap.victims) or None,
        seconds(swap.drain_s),
        seconds(swap.load_s),
        swap.jobs_served,
        stayed or (swap.error if (swap.error or "").startswith("given up") else f"failed: {swap.error}"),
        swap.reason,
    )


def _part(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"
