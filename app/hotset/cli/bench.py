"""`hotset bench`: the benchmarks of `hotset.lab`, on servers of their own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from hotset.cli.output import AsJson, note, print_json, table


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Measure hotset beside what you know.")(bench)


def bench(
    name: Annotated[str | None, typer.Argument(help="Which; without it they are listed.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Repeat it so often; figures are medians.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Jobs of an arm (burst: of an agent; faults: per cent of their load), messages, or worlds of memory.",
        ),
    ] = None,
    fleet: Annotated[
        str | None, typer.Option(help="live: classic (two models fit together), single (none do), or a fleet file.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="live, closed, burst: wall seconds per model second.")] = None,
    minutes: Annotated[float | None, typer.Option(help="closed: wall minutes that the agents go on.")] = None,
    agents: Annotated[int | None, typer.Option(min=1, help="burst: how many agents.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="schedule, memory: only this part; may be given again.", show_default=False)
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="Of schedule: so many draws; 5 is usual.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=100, help="memory: so many memories for speed; 10000 is usual.")
    ] = None,
    templates: Annotated[
        str | None, typer.Option(help="memory: held_out, unseen, development, second to sixth, or a file of yours.")
    ] = None,
    model_server: Annotated[
        str | None, typer.Option(help="memory, extraction: an Ollama server that is asked for keys, too.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which model of it.")] = None,
    fault: Annotated[
        list[int] | None, typer.Option(help="faults: only this one; may be given again.", show_default=False)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="faults: a minute or two each, in place of the full length.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure hotset beside something you know, in one call, on servers of its own; nothing of yours is touched.

    \b
    Example:  hotset bench
              hotset bench overhead --json
              hotset bench live --fleet single --runs 3 --json
              hotset bench closed --minutes 10
              hotset bench faults --quick --fault 1 --fault 6
              hotset bench schedule --part single --part exact --seeds 5
    """
    from hotset.errors import UsageError
    from hotset.lab import BENCHES
    from hotset.lab.schedule import DESCRIPTION

    known = {**{name: about.description for name, about in BENCHES.items()}, "schedule": DESCRIPTION}
    if name is None:
        if as_json:
            print_json(known)
        else:
            typer.echo(table(("bench", "what it measures"), list(known.items())))
        return
    if name not in known:
        # Before any server is started.
        raise UsageError(f"There is no bench {name!r}.", remedy=f"There are {', '.join(known)}.")
    if name == "schedule":
        _schedule(part or [], seeds or runs or 5, jobs or 1500, as_json=as_json)
        return
    if seeds or (part and name != "memory"):
        raise UsageError("--part and --seeds belong to the bench schedule.", remedy="Leave them out, or use --runs.")
    from hotset.cli.stage import bench as run

    options: dict[str, Any] = {
        "fleet": fleet,
        "scale": scale,
        "minutes": minutes,
        "agents": agents,
        "rows": rows,
        "templates": templates,
        "parts": part or None,
        "model_server": model_server,
        "model": model,
        "fault": fault or None,
        "quick": quick or None,
    }
    report = run(name, runs, note, jobs=jobs, **{k: v for k, v in options.items() if v is not None})
    if as_json:
        print_json(report)
    else:
        typer.echo(_page(report))


def _schedule(parts: list[str], seeds: int, jobs: int, *, as_json: bool) -> None:
    """In virtual time: no server is started."""
    from hotset.lab.schedule import run_schedule

    with _steps() as progress:
        report = run_schedule(parts, seeds=seeds, jobs=jobs, progress=progress)
    if as_json:
        print_json(report)
    else:
        typer.echo(_bars(report))


@contextlib.contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """What is being measured: one line that changes on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console

    with Console(stderr=True).status("...") as status:
        yield status.update


def _bars(report: Mapping[str, Any]) -> str:
    """The bars, and where hotset lost."""
    rows = [
        (
            b["part"],
            b["bar"],
            f"{'≤' if b['at_most'] else '≥'} {b['target']:g}",
            _figure(b["median"]),
            _figure(b["worst"]),
            "yes" if b["met_by_worst"] else "median only" if b["met"] else "NO",
        )
        for b in report["bars"]
    ]
    head = ("part", "bar", "target", "median", "worst", "met")
    speed = f"{report['machine']['python_loops_per_s']:,.0f} Python loops a second on this machine"
    lines = [f"schedule: {report['runs']} seeds; {speed}", "", table(head, rows)]
    lost = [
        (loss["part"], loss["seed"], loss["case"], loss["figure"], _figure(loss["hotset"]), *_against(loss))
        for loss in report["losses"]
    ]
    if lost:
        columns = ("part", "seed", "case", "figure", "hotset", "better", "who")
        lines += ["", f"{len(lost)} figures in which hotset lost:", "", table(columns, lost)]
    return "\n".join(lines)


def _against(loss: Mapping[str, Any]) -> tuple[str, str]:
    (who,) = loss.keys() - {"part", "seed", "case", "figure", "hotset"}
    return _figure(loss[who]), who


def _page(report: dict[str, Any]) -> str:
    figures = list(dict.fromkeys(f for arm in report["arms"].values() for f in arm))
    rows = [(arm, *(_figure(values.get(f)) for f in figures)) for arm, values in report["arms"].items()]
    rows += [(pair, *(_figure(values.get(f)) for f in figures)) for pair, values in report["ratios"].items()]
    return f"{report['bench']}: medians of {report['runs']} runs\n\n{table(('', *figures), rows)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
