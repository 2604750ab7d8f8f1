"""`hotset models`: the fleet's models, where they are now, and what was learned of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from hotset.cli.output import AsJson, print_json, seconds, table


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show the models: sizes, where they are, learned costs.")(models)


def models(
    by_gpu: Annotated[bool, typer.Option("--gpus", help="What was learned on each GPU, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show each model: where it is, what asks for it; what the fleet file says, and what was learned in use.

    The measured size comes from the model server of a GPU that holds it. A model of others, loaded by another client of
    the model server, is shown too. Learned are loads (with evictions) and runs, in model seconds on a GPU of speed 1,
    and the tokens a second of one request; the policy reckons with them. With --json also each queue's and agent's runs
    and tokens, and how far forecasts of starts (`hotset jobs show`) were off within a day.

    \b
    Example:  hotset models
              hotset models --gpus
              hotset models --json
    """
    from hotset.cli.learned import learned_now
    from hotset.cli.now import models_now
    from hotset.client import Client

    with Client() as client:
        learned = learned_now(client)
        found = [{**m, "learned": learned.get(m["name"])} for m in models_now(client)]
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
    typer.echo("\n" + table(_HEAD, _learned_rows(found, by_gpu=by_gpu)))
    typer.echo("\nfile: the fleet file's figure; in use: what the policy reckons with; p50 and n: as seen.")


_HEAD = ("learned of", "on", "figure", "file", "in use", "p50", "n")


def _learned_rows(found: Iterable[dict[str, Any]], *, by_gpu: bool) -> Iterable[tuple[object, ...]]:
    for model in found:
        learned = model["learned"]
        if learned is None:
            continue
        figures = [(model["name"], "load s", learned["load_s"]), (model["name"], "tokens/s", learned["tokens_per_s"])]
        figures += [(queue, "run s", known["run_s"]) for queue, known in learned["queues"].items()]
        for name, what, known in figures:
            yield _line(name, "all", what, known)
            if by_gpu:
                for gpu, here in known["gpus"].items():
                    yield _line(name, gpu, what, here)


def _line(name: str, where: str, what: str, known: dict[str, Any]) -> tuple[object, ...]:
    return name, where, what, seconds(known["stated"]), seconds(known["value"]), seconds(known["p50"]), known["n"]


def _mb(size: float | None) -> str:
    return "-" if size is None else f"{size:,.0f}"
