"""When will a waiting job start? The next minutes played through with the aggregated backlog.

The model, kept simple on purpose (its error is measured, see `hotset models`): nothing more arrives; each job of a
queue takes the queue's expected run; a GPU runs what waits for the models it holds, co-resident queues in proportion to
their backlogs; with nothing left for a free slot it drains and loads the cold model with the most jobs a second of load
and work; it does so earlier for a backlog whose oldest job nears the bound on waiting, and for one whose next deadline
is about to be missed when the hot models had a while. A second GPU loads a model only if that is quicker than waiting.
Times are model seconds from now. A long backlog is played in lots of several jobs, so that it costs milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from hotset.fleet import Model

#: Starts that are played through at most; of a longer backlog several jobs make one.
_STARTS = 2000
#: A backlog whose oldest job has waited for this part of the bound goes first.
_OVERDUE = 0.8
#: A hot set is kept for so long before a deadline may end it.
_RESIDENCY_S = 30.0


@dataclass(frozen=True, slots=True)
class Line:
    """What waits in one queue. `run_s` at speed 1; `oldest_s`: how long its oldest job has waited; `deadline_s`: until
    the next deadline that can be met."""

    queue: str
    model: str
    jobs: int
    run_s: float
    oldest_s: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """One GPU: `running` counts requests by resident model; `loading` is the model it drains for or loads."""

    name: str
    vram_mb: float
    slots: int
    speed: float
    busy: int
    sizes: Mapping[str, float]
    running: Mapping[str, int]
    loading: str | None = None
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """`start_in_s` is None when no GPU that lives can run it; `loads`: how many come before it on its GPU."""

    start_in_s: float | None
    basis: str
    gpu: str | None = None
    loads: int = 0


@dataclass(slots=True)
class _Gpu:
    server: Server
    hot: dict[str, float]
    #: By slot: when it is free, and the model that it runs until then.
    slots: list[tuple[float, str]]
    loading: str | None = None
    ready_at: float = 0.0
    since: float = 0.0
    loads: int = 0
    #: Slots that found nothing to run; the next load calls them back.
    idle: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Left:
    line: Line
    jobs: float
    started: float = 0.0


@dataclass(slots=True)
class _Play:
    models: Mapping[str, Model]
    max_wait_s: float
    left: dict[str, _Left]
    gpus: list[_Gpu]
    runs: dict[str, float]
    heap: list[tuple[float, int, int]] = field(default_factory=list)


def forecast(
    queue: str,
    ahead: int,
    lines: Iterable[Line],
    servers: Sequence[Server],
    models: Mapping[str, Model],
    *,
    max_wait_s: float,
) -> Forecast:
    """The start of the job of `queue` before which `ahead` others are picked. `models`: sizes and loads as learned.

    `lines` must hold the queue (with the job in it).
    """
    known = {line.queue: line for line in lines}
    line = known[queue]
    if line.jobs <= ahead:
        known[queue] = line = Line(line.queue, line.model, ahead + 1, line.run_s, line.oldest_s, line.deadline_s)
    if not servers:
        return Forecast(None, "no GPU worker is running")
    model = models.get(line.model)
    if not any(line.model in s.sizes or (model is not None and model.size_mb <= s.vram_mb) for s in servers):
        return Forecast(None, f"no GPU that works has room for {line.model}")
    runs: dict[str, float] = {}
    for one in known.values():
        runs[one.model] = max(runs.get(one.model, 0.0), one.run_s)
    play = _Play(models, max_wait_s, {q: _Left(one, one.jobs) for q, one in known.items()}, [], runs)
    play.gpus = [_begin(server, play) for server in servers]
    for g, gpu in enumerate(play.gpus):
        for s, (free_at, _) in enumerate(gpu.slots):
            heapq.heappush(play.heap, (free_at, g, s))
    lot = max(1, ceil(sum(one.jobs for one in known.values()) / _STARTS))
    return _until(play, queue, ahead, lot)


def _begin(server: Server, play: _Play) -> _Gpu:
    """Requests that run are somewhere in their middle: spread evenly over one run."""
    gpu = _Gpu(server, dict(server.sizes), [])
    for model, count in server.running.items():
        run_s = play.runs.get(model, 0.0) / server.speed
        gpu.slots += [(run_s * (i + 1) / (count + 1), model) for i in range(count)]
    gpu.slots = sorted(gpu.slots)[: server.slots]
    gpu.slots += [(0.0, "")] * (server.slots - len(gpu.slots))
    if server.loading is not None and server.loading not in gpu.hot:
        drained = max((free for free, model in gpu.slots if model in server.victims), default=0.0)
        known = play.models.get(server.loading)
        _load(gpu, server.loading, server.victims, drained + (known.load_s / server.speed / 2 if known else 0.0), known)
    return gpu


def _load(gpu: _Gpu, model: str, victims: Sequence[str], ready_at: float, known: Model | None) -> None:
    for victim in victims:
        gpu.hot.pop(victim, None)
    gpu.hot[model] = known.size_mb if known is not None else 0.0
    gpu.loading, gpu.ready_at, gpu.since = model, ready_at, ready_at
    gpu.loads += 1


def _until(play: _Play, queue: str, ahead: int, lot: int) -> Forecast:
    while play.heap:
        now, g, s = heapq.heappop(play.heap)
        gpu = play.gpus[g]
        if gpu.loading is not None and now >= gpu.ready_at:
            gpu.loading = None
        if gpu.loading is None and (cold := _forced(play, gpu, now)) is not None:
            _switch(play, gpu, cold, now)
            _call_back(play, gpu, g)
        chosen = _hot(play, gpu)
        if chosen is None and gpu.loading is None and (cold := _cold(play, gpu, now)) is not None:
            _switch(play, gpu, cold, now)
            chosen = _hot(play, gpu)
        if chosen is None:
            gpu.idle.append(s)
            if gpu.loading is not None:
                _call_back(play, gpu, g)
            continue
        jobs = min(lot, chosen.jobs)
        run_s = chosen.line.run_s / gpu.server.speed
        if chosen.line.queue == queue and chosen.started + jobs > ahead:
            # Its lot is taken by one slot here and by all of them in truth: they share what is before it in the lot.
            start = now + (ahead - chosen.started) * run_s / gpu.server.slots
            return Forecast(start, _basis(play, queue, ahead, gpu), gpu.server.name, gpu.loads)
        chosen.jobs -= jobs
        chosen.started += jobs
        gpu.slots[s] = (now + jobs * run_s, chosen.line.model)
        heapq.heappush(play.heap, (gpu.slots[s][0], g, s))
    return Forecast(None, "no GPU gets to it as things are")


def _call_back(play: _Play, gpu: _Gpu, g: int) -> None:
    for s in gpu.idle:
        gpu.slots[s] = (gpu.ready_at, "")
        heapq.heappush(play.heap, (gpu.ready_at, g, s))
    gpu.idle.clear()


def _hot(play: _Play, gpu: _Gpu) -> _Left | None:
    """Of the queues that the GPU can run now, the one with the largest part of its backlog left."""
    ready = [
        one
        for one in play.left.values()
        if one.jobs > 0 and one.line.model in gpu.hot and one.line.model != gpu.loading
    ]
    return max(ready, key=lambda one: one.jobs / one.line.jobs, default=None)


def _cold(play: _Play, gpu: _Gpu, now: float) -> str | None:
    """The cold model that is worth most; None when others serve it better."""
    best: tuple[float, str] | None = None
    for model, lines in _cold_lines(play, gpu):
        load_s = _load_s(play, gpu, model)
        jobs = sum(one.jobs for one in lines)
        work = sum(one.jobs * one.line.run_s for one in lines)
        elsewhere = sum(o.server.slots * o.server.speed for o in play.gpus if o is not gpu and model in o.hot)
        if elsewhere and work / elsewhere <= load_s + min(one.line.run_s for one in lines) / gpu.server.speed:
            continue
        age = 1.0 + (now + max(one.line.oldest_s for one in lines)) / 30.0
        value = jobs * age / (load_s + work / (gpu.server.speed * gpu.server.slots))
        if best is None or value > best[0]:
            best = (value, model)
    return None if best is None else best[1]


def _forced(play: _Play, gpu: _Gpu, now: float) -> str | None:
    """A cold model that cannot wait for the hot ones to be done."""
    hot_oldest = max(
        (o.line.oldest_s for o in play.left.values() if o.jobs > 0 and o.line.model in gpu.hot), default=0.0
    )
    for model, lines in _cold_lines(play, gpu):
        if any(model in other.hot for other in play.gpus):
            continue
        oldest = max(one.line.oldest_s for one in lines)
        if now + oldest >= _OVERDUE * play.max_wait_s and oldest > hot_oldest:
            return model
        due = min((one.line.deadline_s for one in lines if one.line.deadline_s is not None), default=None)
        if due is None or now + hot_oldest >= _OVERDUE * play.max_wait_s or now - gpu.since < _RESIDENCY_S:
            continue
        load_s = _load_s(play, gpu, model)
        if due - load_s <= now <= due:
            return model
    return None


def _cold_lines(play: _Play, gpu: _Gpu) -> list[tuple[str, list[_Left]]]:
    found: dict[str, list[_Left]] = {}
    for one in play.left.values():
        model = play.models.get(one.line.model)
        if one.jobs <= 0 or one.line.model in gpu.hot or model is None or model.size_mb > gpu.server.vram_mb:
            continue
        found.setdefault(one.line.model, []).append(one)
    return list(found.items())


def _load_s(play: _Play, gpu: _Gpu, model: str) -> float:
    return play.models[model].load_s / gpu.server.speed


def _switch(play: _Play, gpu: _Gpu, model: str, now: float) -> None:
    """Evict those with the least waiting until it fits, wait for what runs on them, load."""
    known = play.models[model]
    waiting = {one.line.model: one.jobs * one.line.run_s for one in play.left.values()}
    free = gpu.server.vram_mb - sum(gpu.hot.values())
    victims: list[str] = []
    for victim in sorted(gpu.hot, key=lambda m: waiting.get(m, 0.0)):
        if free >= known.size_mb:
            break
        victims.append(victim)
        free += gpu.hot[victim]
    drained = max((until for until, runs in gpu.slots if runs in victims), default=now)
    _load(gpu, model, victims, max(drained, now) + _load_s(play, gpu, model), known)


def _basis(play: _Play, queue: str, ahead: int, gpu: _Gpu) -> str:
    run_s = play.left[queue].line.run_s
    before = "no job" if not ahead else "1 job" if ahead == 1 else f"{ahead} jobs"
    loads = "no load" if not gpu.loads else "1 load" if gpu.loads == 1 else f"{gpu.loads} loads"
    return f"{before} before it, runs of {run_s:.1f} s, {loads} on {gpu.server.name} until then"
