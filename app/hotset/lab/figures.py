"""From measurements to figures: pure arithmetic over runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

Figures = Mapping[str, float]
#: One run of a bench: arm -> figure -> value.
Run = Mapping[str, Figures]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def medians(runs: Sequence[Figures]) -> dict[str, float]:
    """Each figure's median over the runs."""
    return {name: rounded(median(run[name] for run in runs)) for name in runs[0]}


def ratios(runs: Sequence[Run], arm: str, other: str, names: Sequence[str]) -> dict[str, float]:
    """Medians of each run's own quotient: what slowed a run slowed both of its arms."""
    return {
        name: rounded(median(run[arm][name] / run[other][name] for run in runs))
        for name in names
        if all(run[other][name] > 0 for run in runs)
    }


def rounded(value: float) -> float:
    """Four digits, or the whole number: more would be noise."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """`name_p50` and `name_p99`; nothing of no values."""
    return {f"{name}_p50": percentile(values, 0.5), f"{name}_p99": percentile(values, 0.99)} if values else {}
