"""`hotset bench`: the benchmarks of `hotset.lab`, on servers of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hotset.cli.output import AsJson, note, print_json, table


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Measure hotset beside what you know.")(bench)


def bench(
    name: Annotated[str | None, typer.Argument(help="Which; without it they are listed.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Repeat it so often; figures are medians.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Jobs of an arm (burst: of an agent).")] = None,
    fleet: Annotated[
        str | None, typer.Option(help="live: classic (two models fit together), single (none do), or a fleet file.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="live, closed, burst: wall seconds per model second.")] = None,
    minutes: Annotated[float | None, typer.Option(help="closed: wall minutes that the agents go on.")] = None,
    agents: Annotated[int | None, typer.Option(min=1, help="burst: how many agents.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure hotset beside something you know, in one call, on servers of its own; nothing of yours is touched.

    \b
    Example:  hotset bench
              hotset bench overhead --json
              hotset bench live --fleet single --runs 3 --json
              hotset bench closed --minutes 10
    """
    from hotset.lab import BENCHES

    if name is None:
        if as_json:
            print_json({known: about.description for known, about in BENCHES.items()})
        else:
            typer.echo(table(("bench", "what it measures"), [(k, about.description) for k, about in BENCHES.items()]))
        return
    if name not in BENCHES:
        # Before any server is started.
        from hotset.errors import UsageError

        raise UsageError(f"There is no bench {name!r}.", remedy=f"There are {', '.join(BENCHES)}.")
    from hotset.cli.stage import bench as run

    options = {"fleet": fleet, "scale": scale, "minutes": minutes, "agents": agents}
    report = run(name, runs, note, jobs=jobs, **{k: v for k, v in options.items() if v is not None})
    if as_json:
        print_json(report)
    else:
        typer.echo(_page(report))


def _page(report: dict[str, Any]) -> str:
    figures = list(dict.fromkeys(f for arm in report["arms"].values() for f in arm))
    rows = [(arm, *(_figure(values.get(f)) for f in figures)) for arm, values in report["arms"].items()]
    rows += [(pair, *(_figure(values.get(f)) for f in figures)) for pair, values in report["ratios"].items()]
    return f"{report['bench']}: medians of {report['runs']} runs\n\n{table(('', *figures), rows)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
