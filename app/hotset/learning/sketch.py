"""A distribution of positive figures in a few dozen numbers: frozen, forgetful, merged by adding.

Buckets of a fixed relative width, as in DDSketch (C. Masson, J. E. Rim, H. K. Lee: "DDSketch: a fast and
fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019): any quantile is right to 2 %, and merging
is a sum, so that the order of merges changes nothing. Each new figure lets the old ones fade: of what is seen now and
then the last twenty count, of runs the last few hundred.

The mean is winsorised: figures beyond Tukey's fences (1.5 interquartile ranges, in logarithms, for times are skewed)
count as the fence (J. W. Tukey, "Exploratory Data Analysis", 1977). So a run that hung moves it no more than a long
one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, log

#: Relative error of a bucket's middle.
ACCURACY = 0.02
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = log(_GAMMA)
_SMALLEST, _LARGEST = 1e-4, 1e9
#: A bucket that has faded to so little is left out, when the newest figure has grown to so much.
_FADED = 1e-3
_GROWN = 1e3
_FENCE = 1.5
#: The fences are never nearer to the quartiles than a factor of 1.5: figures that hardly scatter have no outliers.
_NEAREST = ceil(log(1.5) / _LOG_GAMMA)


@dataclass(frozen=True, slots=True)
class Sketch:
    """`weights`: bucket -> weight, ascending. `count`: all figures ever seen, faded ones too; `last`: the newest.

    `unit` is what the newest figure weighs: it grows where the old ones would have to shrink, which costs less
    (G. Cormode and others: "Forward decay", ICDE 2009).
    """

    weights: Mapping[int, float]
    count: int = 0
    last: float = 0.0
    unit: float = 1.0

    def add(self, value: float, *, memory: int) -> Sketch:
        """With one more figure (above zero); those before count for 1 - 1/`memory` of what they did."""
        bucket, unit = _bucket(value), self.unit / (1.0 - 1.0 / memory)
        weights = dict(self.weights)
        if bucket in weights:
            weights[bucket] += unit
        else:
            weights[bucket] = unit
            weights = dict(sorted(weights.items()))
        added = Sketch(weights, self.count + 1, value, unit)
        return added if unit < _GROWN else added.in_units()

    def in_units(self) -> Sketch:
        """The same, with the newest figure at weight 1 and without what has faded."""
        if self.unit == 1.0:
            return self
        weights = {b: w / self.unit for b, w in self.weights.items() if w > _FADED * self.unit}
        return Sketch(weights, self.count, self.last)

    def merge(self, other: Sketch) -> Sketch:
        """Both together. The figure that counts as the last is that of the one with more."""
        if not other.count:
            return self
        if not self.count:
            return other
        weights = dict(self.in_units().weights)
        for bucket, weight in other.in_units().weights.items():
            weights[bucket] = weights.get(bucket, 0.0) + weight
        newest = max(self, other, key=lambda s: (s.count, s.last))
        return Sketch(dict(sorted(weights.items())), self.count + other.count, newest.last)

    @property
    def weight(self) -> float:
        """How many figures still count."""
        return sum(self.weights.values()) / self.unit

    def quantile(self, part: float) -> float | None:
        """The figure that this part of the weight does not exceed; None without figures."""
        return None if not self.weights else _middle(self._bucket_at(part))

    def mean(self) -> float | None:
        """Winsorised; None without figures."""
        if not self.weights:
            return None
        low, high = self._bucket_at(0.25), self._bucket_at(0.75)
        reach = max(_FENCE * (high - low), _NEAREST)
        low, high = ceil(low - reach), ceil(high + reach)
        total = whole = 0.0
        for bucket, weight in self.weights.items():
            whole += weight
            total += weight * _middle(low if bucket < low else high if bucket > high else bucket)
        return total / whole

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {"w": [[b, round(w, 4)] for b, w in self.in_units().weights.items()], "n": self.count, "last": self.last}

    def _bucket_at(self, part: float) -> int:
        left = part * sum(self.weights.values())
        bucket = 0
        for bucket, weight in self.weights.items():  # noqa: B007  # the last one, if rounding leaves a rest
            left -= weight
            if left <= 0:
                break
        return bucket


EMPTY = Sketch({})


def merged(sketches: Iterable[Sketch]) -> Sketch:
    total = EMPTY
    for one in sketches:
        total = total.merge(one)
    return total


def sketch_of(said: Mapping[str, object]) -> Sketch:
    """From `as_object`. ValueError when it is none."""
    pairs, count, last = said.get("w"), said.get("n"), said.get("last")
    if not isinstance(pairs, list) or not isinstance(count, int) or not isinstance(last, int | float):
        raise ValueError("not a sketch")
    return Sketch({int(b): float(w) for b, w in pairs}, count, float(last))


def _bucket(value: float) -> int:
    return ceil(log(min(max(value, _SMALLEST), _LARGEST)) / _LOG_GAMMA)


@cache
def _middle(bucket: int) -> float:
    return 2.0 * exp(bucket * _LOG_GAMMA) / (_GAMMA + 1.0)
