"""The benches by name, and one call that runs any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hotset.errors import UsageError, did_you_mean
from hotset.lab import burst, closed, drain, live, memory, messages, overhead, scale, stream, submit
from hotset.lab.faults import bench as faults
from hotset.lab.figures import Run, medians, ratios
from hotset.lab.machine import describe_machine
from hotset.lab.stage import Stage

#: (stage, runs, jobs, progress, **options) -> one Run after the other.
Measure = Callable[..., Iterator[Run]]


@dataclass(frozen=True, slots=True)
class Bench:
    """`compared`: pairs of arms, the first divided by the second, in `figures`. `jobs`: how many an arm runs, or
    what the bench says that they are.

    `options`: what else may be said of it; `measure` has a keyword for each, with its default.
    """

    description: str
    measure: Measure
    compared: tuple[tuple[str, str], ...]
    figures: tuple[str, ...]
    runs: int
    jobs: int
    options: tuple[str, ...] = ()


BENCHES: Mapping[str, Bench] = {
    "overhead": Bench(
        "what hotset adds to one warm light job: submit to first token, against calling the model server directly",
        overhead.measure,
        (("hotset", "direct"),),
        ("first_token_ms_p50", "first_token_ms_p99"),
        runs=3,
        jobs=200,
    ),
    "stream": Bench(
        "how old a model server's first token is when the client has it: many streams at once, and one, against HTTP",
        stream.measure,
        (("hotset", "direct"), ("hotset_one", "direct_one")),
        ("first_token_ms_p50", "added_ms_p50", "added_ms_p99"),
        runs=3,
        jobs=100,
    ),
    "submit": Bench(
        "jobs accepted per second, one by one and in bulk, against stock Celery on the same broker",
        submit.measure,
        (("submit", "celery"), ("submit_many", "celery"), ("submit_many", "celery_batch")),
        ("jobs_per_s",),
        runs=3,
        jobs=2500,
    ),
    "scale": Bench(
        "a backlog on one and on two equal simulated GPUs, a worker each, in model time",
        scale.measure,
        (("gpus_2", "gpus_1"),),
        ("throughput_per_h",),
        runs=3,
        jobs=131,
    ),
    "drain": Bench(
        "jobs of no length per second through one worker at concurrency 2, against stock Celery",
        drain.measure,
        (("hotset", "celery"), ("hotset", "celery_bare")),
        ("jobs_per_s",),
        runs=3,
        jobs=1000,
    ),
    "messages": Bench(
        "messages among 131 agents: send to handled, and a second, beside a Redis Stream and a bare queue in Postgres",
        messages.measure,
        (("hotset", "redis_stream"), ("hotset", "postgres_queue")),
        ("messages_per_s", "latency_ms_p50", "latency_ms_p99"),
        runs=3,
        jobs=5000,
    ),
    "live": Bench(
        "a saturated mixed load on one simulated GPU, with and without models that fit together, against three rivals",
        live.measure,
        live.COMPARED,
        ("throughput_per_h", "goodput", "swaps", "wait_s_p50", "wait_s_p99", "deadline_missed"),
        runs=1,
        jobs=48,
        options=("fleet", "scale"),
    ),
    "closed": Bench(
        "the 131 agents of the catalogue, each submitting again when it has its answer: is everybody served alike?",
        closed.measure,
        (),
        (),
        runs=1,
        jobs=131,
        options=("minutes", "scale"),
    ),
    "burst": Bench(
        "a thousand agents that submit at once, some short jobs each: is everybody served alike, is anything lost?",
        burst.measure,
        (),
        (),
        runs=1,
        jobs=5,
        options=("agents", "scale"),
    ),
    "memory": Bench(
        "what is remembered: is the fact that is true now found first, nothing made up, nothing leaked, and how fast?",
        memory.measure,
        (),
        (),
        runs=1,
        jobs=5,
        options=("rows", "templates", "parts", "model_server", "model"),
    ),
    "faults": Bench(
        "killed, cut off, flushed, stopped: is any job lost, is anything done twice, how soon does it go on?",
        faults.measure,
        (),
        (),
        runs=1,
        jobs=100,
        options=("fault", "quick"),
    ),
}


def bench_named(name: str, options: Iterable[str] = ()) -> Bench:
    """The bench of that name, if it has these options. Raises UsageError, with the nearest names."""
    bench = BENCHES.get(name)
    if bench is None:
        raise UsageError(f"There is no bench {name!r}.", remedy=did_you_mean(name, BENCHES, "hotset bench"))
    for option in options:
        if option not in bench.options:
            has = ", ".join(f"--{known}" for known in bench.options) or "none"
            raise UsageError(f"The bench {name!r} has no option {option!r}.", remedy=f"Of its own it has {has}.")
    return bench


def run_bench(
    name: str,
    *,
    stage: Stage,
    runs: int | None = None,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Run a bench; figures are medians over the runs. `runs` and `jobs` (per arm) default to the bench's own.

    `options` are those that the bench names. Raises UsageError for an unknown name or option or numbers below 1, and
    what the servers raise.
    """
    bench = bench_named(name, options)
    runs = bench.runs if runs is None else runs
    jobs = bench.jobs if jobs is None else jobs
    if runs < 1 or jobs < 1:
        raise UsageError(f"A bench of {runs} runs of {jobs} jobs measures nothing.", remedy="Give 1 or more.")
    machine = describe_machine(stage.fresh())
    done = list(bench.measure(stage, runs, jobs, progress, **options))
    arms = done[0]
    compared = [(arm, other) for arm, other in bench.compared if arm in arms and other in arms]
    return {
        "bench": name,
        "arms": {arm: medians([run[arm] for run in done]) for arm in arms},
        "ratios": {f"{arm}/{other}": ratios(done, arm, other, bench.figures) for arm, other in compared},
        "runs": runs,
        "jobs": jobs,
        **({"options": options} if options else {}),
        "machine": machine,
    }
