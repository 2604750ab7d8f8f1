"""`hotset simulate`: a workload under one policy or several, on a virtual clock."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds, table

if TYPE_CHECKING:
    from hotset.fleet import Fleet
    from hotset.lab.recording import Recording
    from hotset.scheduling import Objective
    from hotset.simulator import Policy, SimJob
    from hotset.simulator.world import Progress, Trace


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Run a workload in virtual time.")(simulate)


def simulate(
    jobs: Annotated[
        Path | None,
        typer.Option(help="Jobs file (JSON Lines): arrivals, queues, run times; - is standard input."),
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="Fleet file; without it the classic 4 GB GPU.")] = None,
    policy: Annotated[
        str, typer.Option(help="hotset, fifo, round-robin, hot-first, unlimited ...; several with commas, or `all`.")
    ] = "hotset",
    objective: Annotated[str | None, typer.Option(help="Of hotset: throughput, balanced or deadlines.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=10_000, help="So many, like the fleet file's in turn.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write what happened to this file (JSON Lines).")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw queues, hot sets and waits into this file: .svg, .png or .html.")
    ] = None,
    closed: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="No jobs file: so many agents that wait for their answers.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of --closed: until each has so many answers.")] = 30,
    think: Annotated[str, typer.Option(help="Of --closed: the mean pause before an agent asks again.")] = "1m",
    seed: Annotated[int, typer.Option(help="Of --closed: the same seed, the same agents.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run a jobs file on a fleet under a policy, in virtual time: swaps, waits, goodput. No server is needed.

    \b
    Example:  hotset simulate --fleet fleet.yaml --jobs jobs.jsonl
              hotset simulate --jobs jobs.jsonl --policy all
              hotset simulate --jobs jobs.jsonl --gpus 3 --plot run.svg
              hotset simulate --closed 131 --think 5m --policy hotset,hot-first
    """
    from hotset.cli.fleet import the_fleet
    from hotset.settings import load_settings
    from hotset.simulator.fleets import with_gpus

    if (jobs is None) == (closed is None):
        from hotset.errors import UsageError

        raise UsageError(
            "Say what is to run.", remedy="Give --jobs FILE (`hotset workload` draws one) or --closed 131."
        )
    settings = load_settings(fleet=fleet, objective=objective)
    chosen = the_fleet(settings)
    if gpus is not None:
        chosen = with_gpus(chosen, gpus)
    work: Work = (
        _File(chosen, read_workload(jobs, chosen))
        if jobs is not None
        else _Loop(chosen, closed or 0, rounds, think, seed)
    )
    compare(work, policies(policy), settings.objective, trace=trace, plot=plot, as_json=as_json)


class Work(Protocol):
    """What `compare` runs under each policy. `jobs`: how many, 0 if that is not known."""

    fleet: Fleet
    jobs: int

    def run(
        self, policy: Policy, objective: Objective, trace: Trace | None, progress: Progress | None
    ) -> dict[str, Any]:
        """The report of a run."""
        ...


class _File:
    def __init__(self, fleet: Fleet, workload: Sequence[SimJob]) -> None:
        self.fleet, self.jobs, self._workload = fleet, len(workload), workload

    def run(
        self, policy: Policy, objective: Objective, trace: Trace | None, progress: Progress | None
    ) -> dict[str, Any]:
        from hotset.simulator import simulate as run

        return run(self.fleet, self._workload, policy, objective, trace, progress).report()


class _Loop:
    """Agents in a closed loop; the report says as well who got how much (`agents`)."""

    def __init__(self, fleet: Fleet, agents: int, rounds: int, think: str, seed: int) -> None:
        from hotset.jobs.durations import parse_duration

        self.fleet, self.jobs = fleet, 0
        self._agents, self._rounds, self._seed = agents, rounds, seed
        self._think_s = parse_duration(think, "--think")

    def run(
        self, policy: Policy, objective: Objective, trace: Trace | None, progress: Progress | None
    ) -> dict[str, Any]:
        from hotset.lab.schedule_closed import fairness_by_queue
        from hotset.simulator.closed_loop import ClosedLoop
        from hotset.simulator.loop import simulate_loop
        from hotset.simulator.workloads import Workload

        workload = Workload(seed=self._seed, agents=self._agents)
        loop = ClosedLoop(self.fleet, workload, rounds=self._rounds, think_s=self._think_s)
        report = simulate_loop(self.fleet, loop, policy, objective, trace, progress).report()
        fewest = min(loop.answers.values())
        return {**report, "agents": {"fewest_answers": fewest, "fairness": dict(fairness_by_queue(loop))}}


def jobs_of(fleet: Fleet, workload: Sequence[SimJob]) -> Work:
    """Those jobs, for `compare`."""
    return _File(fleet, workload)


def policies(text: str) -> tuple[Policy, ...]:
    """The value of `--policy`. UsageError for an unknown name."""
    from hotset.errors import UsageError, did_you_mean
    from hotset.simulator import POLICIES

    if text == "all":
        return POLICIES
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in POLICIES:
            hint = did_you_mean(name, POLICIES, "")
            raise UsageError(
                f"There is no policy {name!r}.",
                remedy=f"{hint if hint.startswith('Did') else ''} Choose of {', '.join(POLICIES)}, or all.".strip(),
            )
    return cast("tuple[Policy, ...]", tuple(names))


def read_workload(path: Path, fleet: Fleet) -> tuple[SimJob, ...]:
    """The jobs of a file, or of standard input."""
    from hotset.simulator import parse_jobs, read_jobs

    return parse_jobs(sys.stdin, fleet, "standard input") if str(path) == "-" else read_jobs(path, fleet)


def compare(
    work: Work, names: Sequence[Policy], objective: str, *, trace: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Run the jobs under each policy and print what came of it: one report, or one line a policy."""
    from hotset.errors import UsageError

    if trace is not None and len(names) > 1:
        raise UsageError("A trace is of one policy.", remedy="Name one: --policy hotset.")
    if plot is not None:
        from hotset.lab.plots import check_plot

        check_plot(plot)
    reports: dict[str, dict[str, Any]] = {}
    recordings: dict[str, Recording] = {}
    for name in names:
        with (
            _trace_to(trace, recordings, name if plot is not None else None) as record,
            _progress(name, work.jobs) as progress,
        ):
            # An unknown objective is refused by the simulator, with the known ones.
            reports[name] = work.run(name, cast("Objective", objective), record, progress)
    if plot is not None:
        _draw(work.fleet, reports, recordings, plot)
    if as_json:
        print_json(next(iter(reports.values())) if len(names) == 1 else {"policies": reports})
    elif len(names) == 1:
        typer.echo(_page(next(iter(reports.values()))))
    else:
        typer.echo(_side_by_side(reports))


def _draw(
    fleet: Fleet, reports: Mapping[str, Mapping[str, Any]], recordings: Mapping[str, Recording], path: Path
) -> None:
    from hotset.lab.plots import plot_policies, plot_run

    if len(reports) > 1:
        plot_policies(recordings, reports, path)
    else:
        for name, report in reports.items():
            plot_run(recordings[name], fleet, report, path)
    note(f"The picture is in {path}.")


def _page(report: Mapping[str, Any]) -> str:
    head = (
        f"{SIMULATED}: {report['jobs']} jobs under {report['policy']} in {seconds(report['makespan_s'])} model seconds,"
        f" {report['throughput_per_h']:,.0f} an hour"
    )
    share = (
        f"goodput {report['goodput']:.1%} of the slots' time with work; loading {report['load_share']:.1%},"
        f" draining {report['drain_share']:.1%}"
    )
    swaps = (
        f"{report['swaps']} swaps ({report['swaps_per_1000']:.1f} per 1000 jobs), {report['deadline_missed']} deadlines"
        f" missed, {report['max_wait_violations']} waits over the bound"
    )
    rows = [
        (name, q["jobs"], *(seconds(q["wait_s"][f]) for f in ("mean", "p50", "p95", "max")), q["deadline_missed"])
        for name, q in {**report["queues"], "all": report}.items()
    ]
    if "agents" in report:
        least = min(report["agents"]["fairness"].values())
        swaps += f"\neach agent had {report['agents']['fewest_answers']} answers or more; fairness {least:.3f} (Jain)"
    return "\n".join(
        [head, share, swaps, "", table(("queue", "jobs", "wait mean", "p50", "p95", "max", "missed"), rows)]
    )


def _side_by_side(reports: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(reports.values()))
    rows = [
        (
            name,
            f"{r['throughput_per_h']:,.1f}",
            f"{100 * r['goodput']:.1f}",
            r["swaps"],
            *(seconds(r["wait_s"][f]) for f in ("mean", "p95", "p99", "max")),
            r["deadline_missed"],
            f"{100 * r['deadline_missed'] / (r['jobs'] or 1):.1f}",
            r["max_wait_violations"],
        )
        for name, r in reports.items()
    ]
    head = ("policy", "an hour", "goodput %", "swaps", "wait mean", "p95", "p99", "max", "missed", "%", "over bound")
    return f"{SIMULATED}: {first['jobs']} jobs under each policy; waits in model seconds\n\n{table(head, rows)}"


@contextlib.contextmanager
def _trace_to(
    path: Path | None, recordings: dict[str, Recording], name: str | None
) -> Iterator[Callable[[Mapping[str, object]], None] | None]:
    """A sink for the trace: the file, a recording under that name, both, or none."""
    sinks: list[Callable[[Mapping[str, object]], object]] = []
    if name is not None:
        from hotset.lab.recording import Recording

        recordings[name] = Recording()
        sinks.append(recordings[name])
    with contextlib.ExitStack() as held:
        if path is not None:
            file = held.enter_context(path.open("w", encoding="utf-8"))
            sinks.append(lambda event: file.write(json.dumps(event) + "\n"))
        yield _all(sinks) if sinks else None


def _all(sinks: Sequence[Callable[[Mapping[str, object]], object]]) -> Callable[[Mapping[str, object]], None]:
    def tell(event: Mapping[str, object]) -> None:
        for sink in sinks:
            sink(event)

    return tell


@contextlib.contextmanager
def _progress(policy: str, jobs: int) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; a line at the start elsewhere, since a simulation is quick."""
    if not sys.stderr.isatty():
        note(f"Simulating {f'{jobs} jobs' if jobs else 'agents'} under {policy} ...")
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Simulating {policy}", total=jobs or None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
