"""Pictures of simulations, as SVG, PNG or a page of HTML that needs nothing else. Drawn by matplotlib (extra `lab`)."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotset.errors import HotsetError, UsageError
from hotset.fleet import Fleet
from hotset.lab.recording import OfQueue, Recording, Stay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".html")
#: Told apart by everyone, colour-blind or not (Okabe, Ito 2008); black is kept for words.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
#: More GPUs than this are not shown one by one.
_ROWS = 16
#: Steps of a line and dots of a queue beyond these cannot be seen, and make files large.
_STEPS, _DOTS = 2000, 4000
_MARKS = "osD^vP*X<>"


@dataclass(frozen=True, slots=True)
class Point:
    """One way to run the same jobs. `missed`: part of the deadlines. `throughput`: ÷ unlimited VRAM. Points of one
    `line` are joined in their order; of these only those with a `label` are named in the picture."""

    name: str
    missed: float
    throughput: float
    line: str | None = None
    label: bool = True


def check_plot(path: Path) -> None:
    """Before a long run: UsageError for an ending that is not written, HotsetError without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path.name} is not a picture's name.", remedy=f"Let it end in {', '.join(FORMATS)}.")
    _new_figure(1, 1)


def plot_run(recording: Recording, fleet: Fleet, report: Mapping[str, Any], path: Path) -> None:
    """Queue lengths, hot sets and waits of one run."""
    gpus = list(recording.stays)[:_ROWS]
    figure = _new_figure(12, 7.2 + 0.42 * max(1, len(gpus)))
    rows = figure.add_gridspec(3, 2, height_ratios=[2.4, 0.6 + 0.42 * max(1, len(gpus)), 2.6], width_ratios=[1.7, 1])
    unit, words = _unit(recording.end - (recording.begin or 0.0))
    colours = _colours(fleet)
    lengths = figure.add_subplot(rows[0, :])
    _lengths(lengths, recording, fleet, colours, unit)
    hot = figure.add_subplot(rows[1, :], sharex=lengths)
    _hot_sets(hot, recording, gpus, fleet, colours, unit)
    hot.set_xlabel(f"time ({words})")
    dots = figure.add_subplot(rows[2, 0])
    _waits_over_time(dots, recording, fleet, colours, unit)
    dots.set_xlabel(f"arrival ({words})")
    _waits(figure.add_subplot(rows[2, 1]), recording, fleet, colours)
    figure.suptitle(_headline(report), x=0.01, ha="left", fontsize=13, fontweight="bold")
    _write(figure, path, _headline(report), _figures([report]))


def plot_policies(recordings: Mapping[str, Recording], reports: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Waits of all jobs under each policy, and what each trades."""
    figure = _new_figure(12, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
    for i, (name, recording) in enumerate(recordings.items()):
        waits = sorted(wait for q in recording.queues.values() for wait in q.waits)
        _survival(left, waits, name, "#444444" if name == "unlimited" else _COLOURS[i % len(_COLOURS)])
    _dress_survival(left)
    left.set_title("Part of the jobs that wait longer", loc="left", fontsize=11)
    left.legend(frameon=False, fontsize=9)
    best = max((r["throughput_per_h"] for r in reports.values()), default=0.0)
    reference = reports["unlimited"]["throughput_per_h"] if "unlimited" in reports else best
    _trade(right, [as_point(name, report, reference) for name, report in reports.items()])
    title = f"{next(iter(reports.values()))['jobs']:,} jobs under {len(reports)} policies"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    _write(figure, path, title, _figures(list(reports.values())))


def plot_frontier(points: Sequence[Point], path: Path, title: str = "Missed deadlines against throughput") -> None:
    """Each point one way to run the same jobs: up and to the left is better."""
    figure = _new_figure(8.5, 5.5)
    _trade(figure.subplots(), points)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    rows = [(p.name, f"{p.missed:.1%}", f"{p.throughput:.3f}") for p in points]
    _write(figure, path, title, _html_table(("", "deadlines missed", "throughput ÷ unlimited"), rows))


def as_point(name: str, report: Mapping[str, Any], reference_per_h: float, line: str | None = None) -> Point:
    jobs = report["jobs"] or 1
    return Point(name, report["deadline_missed"] / jobs, report["throughput_per_h"] / (reference_per_h or 1.0), line)


# ---- panels ----------------------------------------------------------------------------------------------------


def _lengths(axes: Axes, recording: Recording, fleet: Fleet, colours: Mapping[str, str], unit: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title("Jobs waiting, by queue", loc="left", fontsize=11)
    for name, queue in _shown(recording, fleet):
        moments, counts = _steps(queue, recording.end)
        moments = [moment / unit for moment in moments]
        axes.step(moments, counts, where="post", color=colours[fleet.queues[name].model], linewidth=1.1, label=name)
        axes.fill_between(
            moments, counts, step="post", color=colours[fleet.queues[name].model], alpha=0.15, linewidth=0
        )
    axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim((recording.begin or 0.0) / unit, max(recording.end, (recording.begin or 0.0) + 1.0) / unit)
    axes.tick_params(labelbottom=False)
    _legend(axes, len(fleet.queues))
    _plain(axes)


def _hot_sets(
    axes: Axes, recording: Recording, gpus: Sequence[str], fleet: Fleet, colours: Mapping[str, str], unit: float
) -> None:
    """A band for each GPU: residents as bars over their stay, as high as their part of the VRAM; loads in pale."""
    more = len(recording.stays) - len(gpus)
    title = "Hot sets: models in VRAM (height: part of the GPU; hatched: loading)"
    axes.set_title(title + (f"; {more} more GPUs are not shown" if more > 0 else ""), loc="left", fontsize=11)
    for row, name in enumerate(gpus):
        vram = fleet.gpu(name).vram_mb
        bottoms = _stacked(recording.stays[name], fleet)
        for stay, bottom in zip(recording.stays[name], bottoms, strict=True):
            end = recording.end if stay.end is None else stay.end
            loaded = end if stay.loaded is None else min(stay.loaded, end)
            size = fleet.models[stay.model].size_mb / vram * 0.86
            where = row - 0.43 + min(bottom / vram * 0.86, 0.86 - size)
            colour = colours[stay.model]
            bar = {"height": size, "align": "edge", "color": colour, "edgecolor": "white", "linewidth": 0.3}
            axes.barh(where, (end - loaded) / unit, left=loaded / unit, **bar)  # type: ignore[arg-type]
            axes.barh(where, (loaded - stay.load) / unit, left=stay.load / unit, alpha=0.45, hatch="////", **bar)  # type: ignore[arg-type]
    axes.set_yticks(range(len(gpus)), gpus)
    axes.set_ylim(max(1, len(gpus)) - 0.5, -0.5)
    models = [name for name in colours if any(s.model == name for g in gpus for s in recording.stays[g])]
    handles = [axes.bar(0, 0, color=colours[name], label=name) for name in models[:12]]
    if handles and len(models) <= 12:
        axes.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=9,
        )
    axes.grid(visible=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)


def _waits_over_time(axes: Axes, recording: Recording, fleet: Fleet, colours: Mapping[str, str], unit: float) -> None:
    axes.set_title("Wait of each job, by arrival (seconds)", loc="left", fontsize=11)
    for name, queue in _shown(recording, fleet):
        every = max(1, len(queue.waits) // _DOTS)
        axes.scatter(
            [at / unit for at in queue.arrivals[::every]],
            [max(wait, 0.1) for wait in queue.waits[::every]],
            s=5,
            linewidths=0,
            alpha=0.6,
            color=colours[fleet.queues[name].model],
            rasterized=len(queue.waits) > 1000,
        )
    axes.set_yscale("log")
    _seconds(axes.yaxis)
    _plain(axes)


def _waits(axes: Axes, recording: Recording, fleet: Fleet, colours: Mapping[str, str]) -> None:
    axes.set_title("Part of the jobs that wait longer (dashed: deadline)", loc="left", fontsize=11)
    for name, queue in _shown(recording, fleet):
        colour = colours[fleet.queues[name].model]
        _survival(axes, sorted(queue.waits), name, colour)
        if len(fleet.queues) <= len(_COLOURS):
            axes.axvline(fleet.queues[name].deadline_s, color=colour, linestyle="--", linewidth=0.8, alpha=0.7)
    _dress_survival(axes)
    _legend(axes, len(fleet.queues))


def _survival(axes: Axes, waits: Sequence[float], name: str, colour: str) -> None:
    """Where the line stands at x: the part of the waits above x. Log-log, so that the tail is seen."""
    if not waits:
        return
    count = len(waits)
    ranks = sorted({min(count - 1, round(count * (1 - 10 ** (-4 * k / 400)))) for k in range(401)} | {0, count - 1})
    axes.step(
        [max(waits[r], 0.1) for r in ranks],
        [(count - r) / count for r in ranks],
        where="pre",
        color=colour,
        linewidth=1.4,
        label=name,
    )


def _dress_survival(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=1.2)
    axes.set_xlabel("wait (seconds)")
    _seconds(axes.xaxis)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{100 * part:g} %"))
    _plain(axes)


def _trade(axes: Axes, points: Sequence[Point]) -> None:
    from matplotlib.ticker import PercentFormatter

    lines: dict[str, list[Point]] = {}
    for point in points:
        if point.line is not None:
            lines.setdefault(point.line, []).append(point)
    for members in lines.values():
        axes.plot([p.missed for p in members], [p.throughput for p in members], color="#999999", linewidth=1, zorder=1)
    kinds = list(dict.fromkeys(p.line or p.name for p in points))
    named = 0
    for point in points:
        kind = kinds.index(point.line or point.name)
        axes.scatter(
            point.missed,
            point.throughput,
            s=46 if point.label else 14,
            color="#444444" if point.name == "unlimited" else _COLOURS[kind % len(_COLOURS)],
            marker=_MARKS[kind % len(_MARKS)],
            zorder=2,
            label=None if point.line else point.name,
        )
        if point.line is not None and point.label:  # the others are in the legend: names of neighbours would overlap
            away = (4, -16 - 12 * (named % 2)) if named % 2 else (4, 10)
            arrow = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6}
            place = (point.missed, point.throughput)
            axes.annotate(
                point.name, place, xytext=away, textcoords="offset points", fontsize=9, arrowprops=arrow, zorder=3
            )
            named += 1
    axes.set_title("Up and to the left is better", loc="left", fontsize=11)
    axes.set_xlabel("deadlines missed")
    axes.set_ylabel("throughput ÷ unlimited VRAM")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if any(p.missed > 0.1 for p in points) else 1))
    axes.set_xlim(left=0.0, right=1.25 * max([p.missed for p in points], default=0.0) or 0.01)
    # At least five hundredths high: what differs by less is the end of the run, not the policy.
    low, high = min([p.throughput for p in points], default=1.0), max([p.throughput for p in points], default=1.0)
    axes.set_ylim(min(low, high - 0.05) - 0.2 * max(0.05, high - low), high + 0.2 * max(0.05, high - low))
    if any(point.line is None for point in points):
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    _plain(axes)


# ---- from events to lines --------------------------------------------------------------------------------------


def _shown(recording: Recording, fleet: Fleet) -> list[tuple[str, OfQueue]]:
    return [(name, recording.queues[name]) for name in fleet.queues if name in recording.queues]


def _steps(queue: OfQueue, end: float) -> tuple[list[float], list[int]]:
    """Moments and the number waiting from each on; of many, the highest of each short stretch."""
    moments, counts = list(queue.moments), list(accumulate(queue.changes))
    every = math.ceil(len(moments) / _STEPS) if moments else 1
    if every > 1:
        stretches = range(0, len(moments), every)
        moments = [moments[i] for i in stretches]
        counts = [max(counts[i : i + every]) for i in stretches]
    last = counts[-1] if counts else 0
    return [*moments, end], [*counts, last]


def _stacked(stays: Sequence[Stay], fleet: Fleet) -> list[float]:
    """For each stay the lowest place in VRAM (MiB) that nobody who is there at its load occupies."""
    placed: list[tuple[float, float, Stay]] = []
    bottoms = []
    for stay in stays:
        size = fleet.models[stay.model].size_mb
        placed = [p for p in placed if p[2].end is None or p[2].end > stay.load]
        bottom = 0.0
        for low, high, _ in sorted(placed, key=lambda p: p[0]):
            if bottom + size <= low:
                break
            bottom = max(bottom, high)
        placed.append((bottom, bottom + size, stay))
        bottoms.append(bottom)
    return bottoms


def _colours(fleet: Fleet) -> dict[str, str]:
    names = list(fleet.models)
    if len(names) <= len(_COLOURS):
        return dict(zip(names, _COLOURS, strict=False))
    import matplotlib as mpl

    wheel = mpl.colormaps["turbo"]
    from matplotlib.colors import to_hex

    return {name: to_hex(wheel(0.05 + 0.9 * i / (len(names) - 1))) for i, name in enumerate(names)}


def _unit(seconds: float) -> tuple[float, str]:
    for unit, words, enough in (
        (86400.0, "days", 3 * 86400.0),
        (3600.0, "hours", 3 * 3600.0),
        (60.0, "minutes", 600.0),
    ):
        if seconds >= enough:
            return unit, f"model {words}"
    return 1.0, "model seconds"


def _headline(report: Mapping[str, Any]) -> str:
    jobs = report["jobs"]
    missed = report["deadline_missed"] / jobs if jobs else 0.0
    return (
        f"{report['policy']}: {jobs:,} jobs, {report['throughput_per_h']:,.0f} an hour, {report['swaps']:,} swaps, "
        f"{missed:.1%} of the deadlines missed, p95 wait {report['wait_s']['p95']:,.0f} s"
    )


# ---- matplotlib and files --------------------------------------------------------------------------------------


def _new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise HotsetError(
            "A picture needs matplotlib, which is not installed.", remedy="Install it: pip install 'hotset[lab]'."
        ) from None
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _plain(axes: Axes) -> None:
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, entries: int) -> None:
    """Beside the picture; with many queues the colours speak for themselves."""
    if entries <= 12 and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _seconds(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))


def _write(figure: Figure, path: Path, title: str, table: str) -> None:
    kind = path.suffix.lower()
    if kind == ".png":
        figure.savefig(path, dpi=130)
        return
    text = io.StringIO()
    # Without a date and with fixed names inside: the same run gives the same file.
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "hotset", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    if kind == ".svg":
        path.write_text(svg, "utf-8")
        return
    path.write_text(_PAGE.format(title=html.escape(title), svg=svg[svg.index("<svg") :], table=table), "utf-8")


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222 }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse }}
th, td {{ padding: .2em 1em .2em 0; text-align: right; border-bottom: 1px solid #e6e6e6 }}
th:first-child, td:first-child {{ text-align: left }}
</style></head>
<body>
{svg}
{table}
<p>SIMULATED: times are model seconds.</p>
</body>
</html>
"""


def _figures(reports: Sequence[Mapping[str, Any]]) -> str:
    """Each policy and, where there is only one, its queues."""
    head = ("", "jobs", "wait mean", "p50", "p95", "p99", "max", "deadlines missed")
    rows = []
    for report in reports:
        queues = report["queues"] if len(reports) == 1 else {}
        for name, part in {report["policy"]: report, **queues}.items():
            waits = [f"{part['wait_s'][f]:,.1f}" for f in ("mean", "p50", "p95", "p99", "max")]
            rows.append((name, f"{part['jobs']:,}", *waits, f"{part['deadline_missed']:,}"))
    return _html_table(head, rows)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line("th", head) + "".join(line("td", row) for row in rows) + "</table>"
