"""Workloads for tests, and a judge that replays a trace and knows the rules of the world, not the policy."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hotset.fleet import Fleet, Gpu
from hotset.fleet_file import classic_fleet
from hotset.simulator import SimJob

FLEET = classic_fleet()


def gpus(count: int, *, slots: int = 2, vram_mb: float = 3686, speeds: Sequence[float] = ()) -> Fleet:
    """The classic models on so many GPUs."""
    return replace(
        FLEET,
        gpus=tuple(Gpu(f"gpu{i}", vram_mb, slots, speeds[i] if speeds else 1.0) for i in range(count)),
    )


def poisson(
    load: float, count: int, seed: int, *, fleet: Fleet = FLEET, mix: Sequence[float] = (0.275, 0.45, 0.275)
) -> list[SimJob]:
    """Jobs at that part of the fleet's swap-free capacity; run times are log-normal around the queue's estimate."""
    rng = random.Random(seed)
    queues = list(fleet.queues.values())
    work = sum(p * q.run_s for p, q in zip(mix, queues, strict=True))
    rate = load * sum(g.slots * g.speed for g in fleet.gpus) / work
    now, jobs = 0.0, []
    for i in range(count):
        now += rng.expovariate(rate)
        queue = rng.choices(queues, mix)[0]
        jobs.append(
            SimJob(f"j{i:05d}", now, queue.name, queue.run_s * rng.lognormvariate(-0.15, 0.55), queue.deadline_s)
        )
    return jobs


class Judge:
    """Takes a trace as it is written; AssertionError at the first thing that could not happen on real GPUs."""

    def __init__(self, fleet: Fleet, jobs: Sequence[SimJob], *, unlimited: bool = False) -> None:
        self.fleet = fleet
        self.jobs = {job.id: job for job in jobs}
        self.unlimited = unlimited
        self.now = 0.0
        self.resident: dict[str, set[str]] = {gpu.name: set() for gpu in fleet.gpus}
        self.loading: dict[str, tuple[str, float] | None] = {gpu.name: None for gpu in fleet.gpus}
        self.running: dict[str, dict[str, str]] = {gpu.name: {} for gpu in fleet.gpus}
        self.started: dict[str, float] = {}
        self.arrived: set[str] = set()
        self.finished: set[str] = set()
        self.events = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.events += 1
        assert event["t"] >= self.now, "sorted by t"
        self.now = event["t"]
        getattr(self, "_" + event["event"])(event)
        for gpu in self.fleet.gpus:
            assert len(self.running[gpu.name]) <= gpu.slots
            loading = self.loading[gpu.name]
            held = self.resident[gpu.name] | ({loading[0]} if loading else set())
            assert self.unlimited or sum(self.fleet.models[m].size_mb for m in held) <= gpu.vram_mb

    def _arrive(self, event: Mapping[str, Any]) -> None:
        assert event["job"] not in self.arrived
        assert self.jobs[event["job"]].queue == event["queue"]
        self.arrived.add(event["job"])

    def _load(self, event: Mapping[str, Any]) -> None:
        assert self.loading[event["gpu"]] is None, "one load at a time"
        assert event["model"] not in self.resident[event["gpu"]]
        assert event["reason"]
        self.loading[event["gpu"]] = (event["model"], self.now)

    def _loaded(self, event: Mapping[str, Any]) -> None:
        loading = self.loading[event["gpu"]]
        assert loading is not None
        assert loading[0] == event["model"]
        speed = self.fleet.gpu(event["gpu"]).speed
        assert abs(self.now - loading[1] - self.fleet.models[loading[0]].load_s / speed) < 1e-6
        self.loading[event["gpu"]] = None
        self.resident[event["gpu"]].add(loading[0])

    def _evict(self, event: Mapping[str, Any]) -> None:
        assert event["model"] not in self.running[event["gpu"]].values(), "nobody runs on an evicted model"
        self.resident[event["gpu"]].remove(event["model"])

    def _start(self, event: Mapping[str, Any]) -> None:
        job = event["job"]
        assert job in self.arrived
        assert job not in self.started, "each job starts once"
        assert event["model"] == self.fleet.queues[self.jobs[job].queue].model
        assert event["model"] in self.resident[event["gpu"]]
        self.started[job] = self.now
        self.running[event["gpu"]][job] = event["model"]

    def _finish(self, event: Mapping[str, Any]) -> None:
        job = event["job"]
        del self.running[event["gpu"]][job]
        speed = self.fleet.gpu(event["gpu"]).speed
        assert abs(self.now - self.started[job] - self.jobs[job].run_s / speed) < 1e-6
        assert event["outcome"] == "succeeded"
        self.finished.add(job)

    def all_done(self) -> None:
        assert self.finished == set(self.jobs)

    def longest_wait(self) -> float:
        return max(at - self.jobs[job].arrive_s for job, at in self.started.items())
