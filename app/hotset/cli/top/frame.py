"""A moment as a picture for a terminal. Pure: a moment in, something to print out."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from hotset.broker import GpuState
from hotset.cli.output import SIMULATED, seconds
from hotset.cli.top.eye import Moment

_BAR = 32
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue")
#: Lines that the rest of the picture takes, beside GPUs, queues, running jobs and swaps.
_FIXED = 13
_FEWEST = 3


def frame(moment: Moment, *, rows: int, held: bool = False) -> RenderableType:
    """`rows`: the lines of the terminal; running jobs and swaps share what is left of them."""
    left = max(2 * _FEWEST, rows - _FIXED - 2 * (len(moment.gpus) + len(moment.silent)) - len(moment.queues))
    return Group(
        _head(moment, held),
        _gpus(moment),
        Text(),
        _queues(moment),
        Text(),
        _running(moment, left // 2),
        Text(),
        _swaps(moment, left // 2),
    )


def _head(moment: Moment, held: bool) -> RenderableType:
    said = moment.as_object()["rates"]
    line = Text.assemble(
        ("hotset top", "bold"),
        f"  {moment.at:%H:%M:%S} UTC   {said['jobs_per_min']:.0f} jobs/min   {said['tokens_per_s']:.0f} tokens/s",
    )
    failed = moment.pulse.ended.get("failed", 0) + moment.pulse.ended.get("quarantined", 0)
    if failed:
        line.append(f"   {failed} failed in the last minute", "red")
    if moment.simulated:
        line.append(f"   {SIMULATED} GPUs, {moment.scale:g} s per model second", "yellow")
    if held:
        line.append("   HELD: p goes on", "reverse")
    if moment.trouble:
        line.append(f"\n{moment.trouble} The figures are older.", "red")
    return Group(line, Rule(style="dim"))


def _gpus(moment: Moment) -> RenderableType:
    table = _table("gpu", "VRAM", "MiB>", "slots", "swaps>", "")
    paused = {pause.name for pause in moment.paused if pause.kind == "gpu"}
    colours = _colours(moment)
    for name, gpu in moment.gpus.items():
        used = sum(mb for mb, _ in gpu.residents.values())
        slots = Text("●" * gpu.busy, "green") + Text("○" * max(0, gpu.slots - gpu.busy), "dim")
        doing = Text("paused ", "reverse") if name in paused else Text()
        if gpu.loading:
            doing.append(f"loading {gpu.loading}", "yellow")
            if gpu.victims:
                doing.append(f", evicting {', '.join(gpu.victims)}", "dim")
        table.add_row(name, _bar(gpu, colours), f"{used:,.0f}/{gpu.vram_mb:,.0f}", slots, str(gpu.swaps), doing)
        table.add_row("", _legend(gpu, colours), "", "", "", "")
    for name in moment.silent:
        table.add_row(name, Text("no worker", "red"), "", "", "", "paused" if name in paused else "")
    return table


def _bar(gpu: GpuState, colours: dict[str, str]) -> Text:
    """Each model its share of the VRAM."""
    bar, drawn = Text(), 0
    total = 0.0
    for model, (mb, _) in gpu.residents.items():
        total += mb
        upto = min(_BAR, round(_BAR * total / gpu.vram_mb))
        bar.append("█" * (upto - drawn), colours.get(model, "white"))
        drawn = upto
    return bar + Text("░" * (_BAR - drawn), "dim")


def _legend(gpu: GpuState, colours: dict[str, str]) -> Text:
    text = Text()
    for model, (_, running) in gpu.residents.items():
        text.append(f"{model}", colours.get(model, "white"))
        text.append(f" {running} running  " if running else "  ", "dim")
    return text if gpu.residents else Text("empty", "dim")


def _colours(moment: Moment) -> dict[str, str]:
    """A model has one colour, on every GPU and in every frame."""
    models = list(dict.fromkeys(queue.model for queue in moment.queues))
    return {model: _COLOURS[i % len(_COLOURS)] for i, model in enumerate(models)}


def _queues(moment: Moment) -> RenderableType:
    table = _table("queue", "model", "waiting>", "savable>", "oldest s>", "")
    paused = {pause.name: pause for pause in moment.paused if pause.kind == "queue"}
    colours = _colours(moment)
    for queue in moment.queues:
        note = Text(f"paused {paused[queue.name].reason}".strip(), "reverse") if queue.name in paused else Text()
        if queue.inbox:
            note.append(f" {queue.inbox} in the inbox", "dim")
        table.add_row(
            queue.name,
            Text(queue.model, colours[queue.model]),
            f"{queue.waiting:,}",
            f"{queue.savable:,}",
            seconds(queue.oldest_s),
            note,
        )
    return table


def _running(moment: Moment, most: int) -> RenderableType:
    if not moment.running:
        return Text("Nothing runs.", "dim")
    table = _table("running", "agent", "queue", "gpu", "for s")
    for job in moment.running[:most]:
        for_s = seconds(job.for_s / moment.scale)
        table.add_row(str(job.id), job.agent, job.queue, job.worker.partition("@")[0], for_s)
    return table


def _swaps(moment: Moment, most: int) -> RenderableType:
    if not moment.swaps:
        return Text("No swap seen yet.", "dim")
    table = _table("last swaps", "gpu", "loaded", "why")
    for swap in reversed(moment.swaps[-most:]):
        at = "before" if swap.at is None else f"{swap.at:%H:%M:%S}"
        table.add_row(at, swap.gpu, swap.model or "-", Text(swap.reason, overflow="ellipsis", no_wrap=True))
    return table


def _table(*columns: str) -> Table:
    """Names of columns; those that end with > have numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for i, name in enumerate(columns):
        right = name.endswith(">")
        # What does not fit is taken from the last column: names and figures stay whole.
        ratio = 1 if i == len(columns) - 1 else None
        table.add_column(
            name.rstrip(">"), justify="right" if right else "left", no_wrap=True, overflow="ellipsis", ratio=ratio
        )
    return table
