"""The demo's live picture, on standard error: redrawn on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from hotset.broker import GpuState
from hotset.cli.demo.world import World
from hotset.cli.output import SIMULATED, note, seconds
from hotset.client import Job
from hotset.jobs import JobView

_LOOK_S = 0.5
_LINE_S = 5.0


def watch(world: World, jobs: Sequence[Job]) -> None:
    """Until every job has ended."""
    console = Console(stderr=True)
    if not console.is_terminal:
        _follow(world, jobs, _line_every(_LINE_S))
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        _follow(world, jobs, lambda views, gpu: live.update(_picture(world, views, gpu)))


def _follow(world: World, jobs: Sequence[Job], show: Callable[[list[JobView], GpuState | None], None]) -> None:
    while True:
        views = world.client.jobs(limit=len(jobs))
        show(views, world.gpu())
        if all(view.state.terminal for view in views):
            world.settled = True
            return
        time.sleep(_LOOK_S)


def _line_every(interval_s: float) -> Callable[[list[JobView], GpuState | None], None]:
    said = float("-inf")

    def show(views: list[JobView], gpu: GpuState | None) -> None:
        nonlocal said
        done = sum(v.state.terminal for v in views)
        if time.monotonic() - said >= interval_s or done == len(views):
            said = time.monotonic()
            note(f"{done}/{len(views)} jobs done; {_hot_set(gpu)}")

    return show


def _hot_set(gpu: GpuState | None) -> str:
    if gpu is None:
        return "the worker is silent"
    held = ", ".join(f"{model} ({running} running)" for model, (_, running) in gpu.residents.items()) or "empty"
    loading = f", loading {gpu.loading}" if gpu.loading else ""
    return f"hot set: {held}{loading}; {gpu.swaps} swaps"


def _picture(world: World, views: list[JobView], gpu: GpuState | None) -> Table:
    done = sum(v.state.terminal for v in views)
    title = f"hotset: {done} of {len(views)} jobs" + (f"   [{SIMULATED} GPU]" if world.simulated else "")
    table = Table(title=title, caption=f"{_hot_set(gpu)}\n{gpu.reason if gpu else ''}\nFlower: {world.flower}")
    for name in ("queue", "waiting", "running", "done", "failed", "mean wait", "longest wait"):
        table.add_column(name, justify="left" if name == "queue" else "right")
    for queue in world.fleet.queues:
        mine = [v for v in views if v.queue == queue]
        states = Counter("waiting" if v.state.waiting else str(v.state) for v in mine)
        waits = [v.wait_s for v in mine if v.wait_s is not None]
        table.add_row(
            queue,
            str(states["waiting"]),
            str(states["running"]),
            str(states["succeeded"]),
            str(sum(v.state.terminal for v in mine) - states["succeeded"]),
            seconds(sum(waits) / len(waits) if waits else None),
            seconds(max(waits, default=None)),
        )
    return table
