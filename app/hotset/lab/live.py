"""A saturated mixed load on one simulated GPU: hotset against what people do without it, and the simulator beside.

All three queues, run times drawn with a seed (the number of the run), the same jobs for every arm of a run, all handed
over at once.

    hotset      one worker of ours
    direct      every agent calls the model server itself, all at once: Ollama's own queue decides
    fifo        stock Celery with one queue, as many processes as the GPU has slots
    celery      stock Celery with a queue for each model, as many processes
    predicted   the simulator's word for hotset: the same jobs, each longer by what a start was measured to cost live

Each arm gets a fresh system and a GPU with nothing loaded. All figures are counted in the model server's own trace.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import httpx

from hotset.agents import load_registry
from hotset.agents.demo import ROUNDS, demo_prompts
from hotset.broker import make_app
from hotset.client import Client
from hotset.errors import GenerationFailed, ResultTimeout, UsageError
from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.jobs import State
from hotset.lab.figures import Run
from hotset.lab.fleets import free_ports, single_fleet, write_fleet
from hotset.lab.stage import Running, Stage
from hotset.lab.stock import TASK, broker_beside, make_stock_app, wait_until_ready
from hotset.lab.trace_check import check_trace
from hotset.lab.traces import Arrival, Event, added_s, figures, live_trace
from hotset.simulator import SimJob, simulate

#: A quarter of real time: what Python costs on two cores stays small beside a run, and a run of all arms takes minutes.
_SCALE = 0.25
#: Standard deviation of a run's logarithm (0.6 of the mean), and the most that a run may be of the mean: one that is
#: ten times as long would decide the figures of a load this small by itself.
_SIGMA = 0.554
_LONGEST = 3.0
_LOOK_S = 0.2
_PATIENCE_S = 120.0
_READY_S = 30.0

_RIVALS = ("direct", "fifo", "celery")
_SINGLE = "_single"
COMPARED = tuple(
    (f"hotset{regime}", f"{other}{regime}") for regime in ("", _SINGLE) for other in (*_RIVALS, "predicted")
)


@dataclass(frozen=True, slots=True)
class _Job:
    """`run_s`: model seconds, known to the simulated GPU alone."""

    agent: str
    prompt: str
    queue: str
    model: str
    run_s: float


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all arms of one memory regime share. `suffix` tells the arms of several regimes apart."""

    fleet: Fleet
    suffix: str
    jobs: tuple[_Job, ...]
    scale: float


@dataclass(slots=True)
class _Arm:
    """One arm on its own GPU. `processes` are watched while the jobs run."""

    stage: Stage
    scene: _Scene
    fleet_path: Path
    gpu: str
    address: str
    processes: list[Running]
    held: ExitStack
    log: Path

    def finished(self) -> int:
        return self.log.read_text("utf-8").count('"outcome": "succeeded"')

    def wait(self) -> None:
        """Until the model server has finished every job. Raises ResultTimeout when nothing moves."""
        jobs, done, changed = len(self.scene.jobs), 0, time.monotonic()
        while done < jobs:
            time.sleep(_LOOK_S)
            for process in self.processes:
                process.check()
            now_done = self.finished()
            if now_done != done:
                done, changed = now_done, time.monotonic()
            elif time.monotonic() - changed > _PATIENCE_S:
                raise ResultTimeout(f"Nothing finished for {_PATIENCE_S:g} s; {done} of {jobs} are done.")


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    fleet: str | None = None,
    scale: float = _SCALE,
) -> Iterator[Run]:
    """`fleet`: classic, single or a file; None: classic, and single under names of their own (`hotset_single`)."""
    if scale <= 0:
        raise UsageError(f"At a scale of {scale:g} no time passes.", remedy="Give wall seconds per model second.")
    fleets = _fleets(fleet)
    arms = list(_ARMS)
    for number in range(1, runs + 1):
        scenes = [_Scene(known, suffix, _jobs(known, jobs, seed=number), scale) for known, suffix in fleets]
        found: dict[str, dict[str, float]] = {}
        for name in arms:
            for scene in scenes:
                arm = f"{name}{scene.suffix}"
                events = _trace_of(stage, scene, name)
                found[arm] = _figures(events, scene)
                if name == "hotset":
                    found[f"predicted{scene.suffix}"] = _predict(scene, events)
                progress(
                    f"run {number} of {runs}: {arm} {found[arm]['throughput_per_h']:,.0f} jobs per model hour, "
                    f"{found[arm]['swaps']:.0f} swaps"
                )
        yield {f"{name}{s.suffix}": found[f"{name}{s.suffix}"] for s in scenes for name in (*_ARMS, "predicted")}
        arms.append(arms.pop(0))  # nobody is always the first


def _fleets(chosen: str | None) -> list[tuple[Fleet, str]]:
    if chosen is None:
        return [(classic_fleet(), ""), (single_fleet(), _SINGLE)]
    named = {"classic": classic_fleet, "single": single_fleet}
    fleet = named[chosen]() if chosen in named else read_fleet(chosen)
    if len(fleet.gpus) != 1:
        raise UsageError(f"{chosen} has {len(fleet.gpus)} GPUs; this bench is about one.", remedy="See `bench scale`.")
    return [(fleet, "")]


def _jobs(fleet: Fleet, count: int, seed: int) -> tuple[_Job, ...]:
    """The same for the same seed: the catalogue's mix of tiers in a random order."""
    rng = random.Random(seed)
    registry = load_registry(fleet, None)
    prompts = list(islice(cycle(demo_prompts(ROUNDS)), count))
    rng.shuffle(prompts)
    jobs = []
    for agent, prompt in prompts:
        queue = fleet.queue_of_tier(registry.get(agent).tier)
        drawn = min(rng.lognormvariate(-(_SIGMA**2) / 2, _SIGMA), _LONGEST)
        jobs.append(_Job(agent, prompt, queue.name, queue.model, round(queue.run_s * drawn, 3)))
    return tuple(jobs)


# ---- figures -------------------------------------------------------------------------------------------------


def _figures(events: Sequence[Event], scene: _Scene) -> dict[str, float]:
    """`invalid`: what in the trace could not have happened on this GPU."""
    report = check_trace(events, scene.fleet)
    return {**figures(events, scene.fleet), "invalid": report.violations, "unfinished": report.unfinished}


def _predict(scene: _Scene, live: Sequence[Event]) -> dict[str, float]:
    by_id = {e["job"]: job for e, job in zip(_arrivals(live), scene.jobs, strict=True)}
    cost_s = added_s(live, {name: job.run_s for name, job in by_id.items()})
    jobs = [
        SimJob(f"j{i:06d}", 0.0, job.queue, job.run_s + cost_s, scene.fleet.queues[job.queue].deadline_s, job.agent)
        for i, job in enumerate(scene.jobs)
    ]
    events: list[Mapping[str, object]] = []
    simulate(scene.fleet, jobs, "hotset", trace=events.append)
    return {**_figures(events, scene), "added_s": cost_s}


def _arrivals(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "arrive"]


# ---- the arms ------------------------------------------------------------------------------------------------


def _trace_of(stage: Stage, scene: _Scene, name: str) -> list[Event]:
    (port,) = free_ports(1)
    fleet_path = stage.folder / f"live-{port}.fleet.yaml"
    (gpu,) = write_fleet(fleet_path, [port], scene.fleet)
    log = stage.folder / f"live-{name}{scene.suffix}-{port}.trace.jsonl"
    with ExitStack() as held:
        server = stage.start_model_server(fleet_path, gpu, scale=scene.scale, port=port, trace=log)
        held.callback(server.stop)
        arm = _Arm(stage, scene, fleet_path, gpu, f"http://127.0.0.1:{port}", [server], held, log)
        arrivals = _ARMS[name](arm)
    return live_trace(log, arrivals, scale=scene.scale)


def _hotset(arm: _Arm) -> list[Arrival]:
    scene, addresses = arm.scene, arm.stage.fresh()
    worker = arm.stage.start_worker(addresses, arm.fleet_path, arm.gpu, scale=scene.scale)
    arm.held.callback(worker.stop)
    arm.processes.append(worker)
    with contextlib.closing(make_app(addresses.broker_url, scene.fleet.queues)) as app:
        wait_until_ready(app, worker)
    with Client(settings=addresses.settings(arm.fleet_path, scale=scene.scale)) as client:
        began = datetime.now(UTC)
        accepted = client.submit_many(
            {"agent": job.agent, "prompt": job.prompt, "options": {"hotset_run_s": job.run_s}} for job in scene.jobs
        )
        arm.wait()
        _all_succeeded(client, len(scene.jobs))
    return [Arrival(str(a.id), job.queue, began) for a, job in zip(accepted, scene.jobs, strict=True)]


def _all_succeeded(client: Client, jobs: int) -> None:
    """The last answers are committed a moment after the model server said them."""
    deadline = time.monotonic() + _READY_S
    while True:
        states = client.counts().values()
        if sum(by.get(State.SUCCEEDED, 0) for by in states) == jobs:
            return
        if time.monotonic() > deadline:
            raise GenerationFailed(f"Of {jobs} jobs not all succeeded: {[dict(by) for by in states]}.")
        time.sleep(_LOOK_S)


def _direct(arm: _Arm) -> list[Arrival]:
    """A thread for each job. What fails is seen as a job that never finishes."""
    named = [(f"j{i:06d}", job) for i, job in enumerate(arm.scene.jobs)]
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=arm.address, timeout=None, limits=limits, trust_env=False) as http:  # noqa: S113

        def ask(name: str, job: _Job) -> None:
            options = {"hotset_run_s": job.run_s, "hotset_job": name}
            body = {"model": job.model, "prompt": job.prompt, "options": options, "stream": False}
            http.post("/api/generate", json=body)

        threads = [threading.Thread(target=ask, args=(name, job), daemon=True) for name, job in named]
        began = datetime.now(UTC)
        for thread in threads:
            thread.start()
        arm.wait()
        for thread in threads:
            thread.join()
    return [Arrival(name, job.queue, began) for name, job in named]


def _fifo(arm: _Arm) -> list[Arrival]:
    return _stock(arm, [], lambda job: {})


def _celery(arm: _Arm) -> list[Arrival]:
    return _stock(arm, ["--queues", ",".join(arm.scene.fleet.queues)], lambda job: {"queue": job.queue})


def _stock(arm: _Arm, words: list[str], route: Callable[[_Job], dict[str, str]]) -> list[Arrival]:
    broker = broker_beside(arm.stage.fresh().broker_url)
    environ = {"HOTSET_STOCK_BROKER": broker, "HOTSET_STOCK_BACKEND": "", "HOTSET_STOCK_SERVER": arm.address}
    slots = str(arm.scene.fleet.gpus[0].slots)
    worker = arm.stage.start_celery("hotset.lab.stock", ["--concurrency", slots, *words], environ)
    arm.held.callback(worker.stop)
    arm.processes.append(worker)
    app = make_stock_app(broker)
    arm.held.callback(app.close)
    wait_until_ready(app, worker)
    named = [(f"j{i:06d}", job) for i, job in enumerate(arm.scene.jobs)]
    began = datetime.now(UTC)
    for name, job in named:
        body = {"model": job.model, "prompt": job.prompt, "hotset_run_s": job.run_s, "hotset_job": name}
        app.tasks[TASK].apply_async(kwargs=body, **route(job))
    arm.wait()
    return [Arrival(name, job.queue, began) for name, job in named]


_ARMS: dict[str, Callable[[_Arm], list[Arrival]]] = {
    "hotset": _hotset,
    "direct": _direct,
    "fifo": _fifo,
    "celery": _celery,
}
