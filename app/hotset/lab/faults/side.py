"""The two that a fault strikes alike: hotset, and stock Celery. The same model servers, jobs, and servers below.

What came of it, as `figures` gives it:

    accepted            jobs of which a submitter was told that they are accepted
    succeeded, failed, quarantined
    unfinished          still waiting or running when the bench ended
    lost                accepted, and neither ended nor anywhere any more
    started_twice       jobs that a model server began more than once: work done again
    committed_twice     jobs whose effect is in Postgres more than once
    hits                how often the fault struck
    recover_s_p50, _p99 wall seconds until what was struck went on, as each fault says
    seconds             from the first submit to the last end
    crashes             hotset: crashes counted against a job that ran alone
    broken              hotset: what the conservation auditor (`hotset audit conservation`) found; 0 is whole
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar, Self

from hotset.errors import ResultTimeout
from hotset.fleet_file import classic_fleet
from hotset.lab.faults.journal import Journal
from hotset.lab.figures import percentile
from hotset.lab.fleets import free_ports, write_fleet
from hotset.lab.stage import Addresses, BreakableServers, Running, Stage

#: Faults are in wall seconds, and so are jobs.
SCALE = 1.0
TIER = "light"
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """Wall seconds. `run_s`: each job's own, drawn evenly from between. `times`: how often the fault strikes, and
    `every_s`: how long it lasts, or is waited for between two. `patience_s`: nothing has ended for so long.
    `visibility_s`: stock Celery's visibility timeout, where it is not half as long again as the longest job."""

    jobs: int
    run_s: tuple[float, float]
    slots: int = 2
    gpus: int = 1
    lease_s: float = 3.0
    times: int = 1
    every_s: float = 1.0
    patience_s: float = 60.0
    visibility_s: float | None = None

    def part(self, share: float) -> Load:
        """So much of it. What is small already stays: so few jobs, or blows, make the fault."""
        few = 10
        jobs, times = (n if n <= few else max(few, round(n * share)) for n in (self.jobs, self.times))
        return replace(self, jobs=jobs, times=times)


class Side(ABC):
    """Model servers and a system on top of them; a block, after which all of it is stopped."""

    name: ClassVar[str]

    def __init__(self, stage: Stage, load: Load, servers: BreakableServers | None = None) -> None:
        self.stage, self.load, self.servers = stage, load, servers
        self.addresses: Addresses = stage.fresh() if servers is None else servers.addresses
        self._held = ExitStack()
        self._numbers = count()
        self.hits = 0
        self.recovered: list[float] = []
        #: What a fault says beside the figures of all.
        self.said: dict[str, float] = {}
        self._struck: list[tuple[str, float]] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        ports = free_ports(self.load.gpus)
        label = f"faults-{self.name}-{ports[0]}"
        self.fleet_path = self.stage.folder / f"{label}.fleet.yaml"
        classic = classic_fleet()
        gpu = replace(classic.gpus[0], slots=self.load.slots)
        self.gpus = write_fleet(self.fleet_path, ports, replace(classic, gpus=(gpu,)))
        self.model = classic.queue_of_tier(TIER).model
        self.ports = dict(zip(self.gpus, ports, strict=True))
        traces = {gpu: self.stage.folder / f"{label}-{gpu}.trace.jsonl" for gpu in self.gpus}
        try:
            for gpu_name, port in self.ports.items():
                server = self.stage.start_model_server(
                    self.fleet_path, gpu_name, scale=SCALE, port=port, trace=traces[gpu_name]
                )
                self._held.callback(server.stop)
            self.journal = Journal(traces)
            self._open()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    # ---- what differs ----------------------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def submit(self, runs_s: Sequence[float]) -> None:
        """Jobs that run so long each. Raises what a submitter gets."""

    @abstractmethod
    def _start(self, gpu: str) -> Running: ...

    @abstractmethod
    def ended(self) -> int:
        """Jobs that came to an end."""

    @abstractmethod
    def open(self) -> int:
        """Jobs that wait or run, as far as anybody knows."""

    @abstractmethod
    def waiting(self) -> int:
        """Those of them that wait."""

    @abstractmethod
    def _outcome(self) -> dict[str, float]: ...

    # ---- what both do ----------------------------------------------------------------------------------------

    def worker(self, gpu: str | None = None) -> Running:
        process = self._start(gpu or self.gpus[0])
        self._held.callback(process.stop)
        return process

    def strike(self, worker: Running, gpu: str | None = None) -> bool:
        """Kill the worker's process group; whether it was answering a job then."""
        struck = self.journal.read().running(gpu or self.gpus[0])
        at = time.time()
        worker.kill()
        self._struck += [(job, at) for job in struck]
        self.hits += bool(struck)
        return bool(struck)

    def until(self, what: Callable[[], bool], *, within_s: float | None = None) -> bool:
        """Look until it holds; whether it did in time."""
        until = time.monotonic() + (within_s or self.load.patience_s)
        while not what():
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
        return True

    def until_running(self, least: int = 1) -> None:
        """Raises ResultTimeout."""
        if not self.until(lambda: len(self.journal.read().running()) >= least):
            raise ResultTimeout(f"{self.name}: fewer than {least} jobs run after {self.load.patience_s:g} s.")

    def settle(self) -> None:
        """Until nothing is open, or nothing has ended for as long as we are patient."""
        ended, changed = self.ended(), time.monotonic()
        while self.open() and time.monotonic() - changed < self.load.patience_s:
            time.sleep(4 * _LOOK_S)
            if (now := self.ended()) != ended:
                ended, changed = now, time.monotonic()
        self._seconds = changed - self._began

    def begin(self) -> None:
        """The clock of `seconds` starts."""
        self._began = time.monotonic()

    def figures(self) -> dict[str, float]:
        journal = self.journal.read()
        again = [(journal.started_after(job, at), at) for job, at in self._struck]
        recovered = [*self.recovered, *(start - at for start, at in again if start is not None)]
        found: dict[str, float] = {
            **self._outcome(),
            "started_twice": journal.started_twice,
            "hits": self.hits,
            "seconds": round(self._seconds, 2),
            **self.said,
        }
        if recovered:
            found |= {f"recover_s_p{p}": round(percentile(recovered, p / 100), 3) for p in (50, 99)}
        return found
