"""`hotset workload`: jobs files (and fleets) drawn with a seed, for experiments."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer

from hotset.cli.output import note, seconds

if TYPE_CHECKING:
    from hotset.fleet import Fleet
    from hotset.simulator.workloads import Kind, Workload

Mix = Annotated[
    str | None, typer.Option(metavar="QUEUE=SHARE,...", help="Shares of the jobs; `zipf`: few queues get most.")
]
Cv = Annotated[float, typer.Option(min=0, max=10, help="Coefficient of variation of run times (log-normal).")]
Agents = Annotated[int, typer.Option(min=0, help="So many agents, shared out by the mix.")]
Tenants = Annotated[str | None, typer.Option(metavar="NAME=SHARE,...", help="Tenants and their shares.")]
Priorities = Annotated[str | None, typer.Option(metavar="NAME=SHARE,...", help="Of low, normal, high, urgent.")]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Draw a jobs file with a seed.")(workload)


def workload(
    kind: Annotated[
        str,
        typer.Argument(
            help="poisson, bursty, backlog, flood, rare, drift, alternation or diurnal; `fleet` draws a fleet file."
        ),
    ],
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    load: Annotated[float, typer.Option(min=0, help="Offered work ÷ what the fleet does without swaps.")] = 0.7,
    jobs: Annotated[int, typer.Option(min=0, max=100_000_000, help="How many.")] = 1500,
    seed: Annotated[int, typer.Option(help="The same seed gives the same jobs.")] = 1,
    mix: Mix = None,
    cv: Cv = 0.6,
    agents: Agents = 131,
    agent_cv: Annotated[float, typer.Option(min=0, max=10, help="... of the agents' mean run times.")] = 0.0,
    tenants: Tenants = None,
    priorities: Priorities = None,
    queue: Annotated[str | None, typer.Option(help="Of flood: the queue; of rare: who is rare.")] = None,
    period: Annotated[str | None, typer.Option(help="Of bursty (1h) and diurnal (1d): how long a turn takes.")] = None,
    deadlines: Annotated[float, typer.Option(min=0, help="Stretch all deadlines by this factor.")] = 1.0,
    gpus: Annotated[int, typer.Option(min=1, max=1000, help="Of `fleet`: how many GPUs.")] = 4,
    models: Annotated[int, typer.Option(min=1, max=100, help="Of `fleet`: how many models, a queue for each.")] = 8,
    equal: Annotated[bool, typer.Option("--equal", help="Of `fleet`: all GPUs alike, 4 GB.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="This file, not standard output.")] = None,
) -> None:
    """Draw the jobs of a kind of load on a fleet: a jobs file, one JSON object a line. The same seed, the same jobs.

    \b
    Example:  hotset workload bursty --load 0.8 --seed 7 > jobs.jsonl
              hotset workload fleet --gpus 16 --models 8 > fleet.yaml
              hotset workload flood --load 0.6 | hotset simulate --jobs - --policy all
    """
    from hotset.errors import UsageError
    from hotset.simulator.fleets import draw_fleet
    from hotset.simulator.workloads import Workload, draw_jobs

    if kind == "closed":
        raise UsageError(
            "In a closed loop arrivals depend on answers: no jobs file holds it.",
            remedy="Run it: hotset simulate --closed 131.",
        )
    if kind == "fleet":
        with _writing(output) as file:
            file.write(json.dumps(_fleet_rows(draw_fleet(gpus, models, seed, mixed=not equal)), indent=1) + "\n")
        return
    from hotset.cli.fleet import the_fleet
    from hotset.jobs.durations import parse_duration
    from hotset.settings import load_settings

    chosen = the_fleet(load_settings(fleet=fleet))
    drawn = Workload(
        cast("Kind", kind),
        load,
        jobs,
        seed,
        mix_of(mix, chosen, seed),
        cv,
        agent_cv,
        agents,
        shares(tenants, "--tenants") or {"default": 1.0},
        shares(priorities, "--priorities") or {"normal": 1.0},
        queue,
        None if period is None else parse_duration(period, "--period"),
        deadlines,
    )
    lines = draw_jobs(chosen, drawn)
    last = 0.0
    with _writing(output) as file:
        for job in lines:
            row = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(job).items()}
            file.write(json.dumps(row) + "\n")
            last = job.arrive_s
    note(_about(drawn, last))


def mix_of(text: str | None, fleet: Fleet, seed: int) -> Mapping[str, float] | None:
    """The value of `--mix`."""
    if text == "zipf":
        from hotset.simulator.workloads import zipf_mix

        return zipf_mix(fleet, seed)
    return shares(text, "--mix")


def shares(text: str | None, option: str) -> dict[str, float] | None:
    """`a=3,b=1` as a mapping. UsageError for anything else; which names and numbers make sense the drawing checks."""
    from hotset.errors import UsageError

    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            name = ""
        if not name.strip():
            raise UsageError(f"{option}: {part!r} is not NAME=SHARE.", remedy=f"Write it as {option} a=3,b=1.")
    return found


def _about(drawn: Workload, last: float) -> str:
    return (
        f"{drawn.jobs:,} jobs in {seconds(last)} model seconds ({drawn.kind}, load {drawn.load:g}, seed {drawn.seed})"
    )


def _fleet_rows(fleet: Fleet) -> dict[str, Any]:
    """As a fleet file has it; JSON is YAML."""
    gpus = [{k: v for k, v in asdict(gpu).items() if v is not None} for gpu in fleet.gpus]
    named = {
        word: {row.name: {k: v for k, v in asdict(row).items() if k != "name"} for row in rows.values()}
        for word, rows in (("models", fleet.models), ("queues", fleet.queues))
    }
    return {"gpus": gpus, **named, "max_wait_s": fleet.max_wait_s}


@contextlib.contextmanager
def _writing(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8") as file:
        yield file
