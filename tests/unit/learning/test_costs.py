"""Estimates: right after a few figures, unmoved by outliers, the same in whatever order GPUs are added up."""

from __future__ import annotations

import json
import random
import statistics
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.learning import EMPTY, KINDS, Kind, Sketch, estimate
from hotset.learning.sketch import ACCURACY, merged, sketch_of

figures = st.floats(0.001, 100_000)


def seen(values: list[float], *, memory: int = 300) -> Sketch:
    sketch = EMPTY
    for value in values:
        sketch = sketch.add(value, memory=memory)
    return sketch


@given(st.lists(figures, min_size=1, max_size=200))
def test_quantiles_and_mean_lie_within_what_was_seen(values: list[float]) -> None:
    sketch = seen(values)
    low, high = min(values) * (1 - 2 * ACCURACY), max(values) * (1 + 2 * ACCURACY)
    for figure in (sketch.mean(), *(sketch.quantile(part) for part in (0.0, 0.25, 0.5, 1.0))):
        assert figure is not None and low <= figure <= high
    assert (sketch.count, sketch.last) == (len(values), values[-1])


@given(st.lists(figures, min_size=1, max_size=60))
def test_the_median_is_right_to_the_accuracy_while_nothing_has_faded(values: list[float]) -> None:
    found = seen(values, memory=10**9).quantile(0.5)
    low, high = statistics.median_low(values), statistics.median_high(values)
    assert found is not None and low * (1 - 2 * ACCURACY) <= found <= high * (1 + 2 * ACCURACY)


@given(st.lists(st.lists(figures, max_size=20), min_size=1, max_size=4))
def test_the_order_in_which_gpus_are_added_up_changes_nothing(gpus: list[list[float]]) -> None:
    sketches = [seen(values) for values in gpus]
    one = merged(sketches)
    for order in permutations(sketches):
        other = merged(order)
        assert other.count == one.count and other.in_units().weights == pytest.approx(one.in_units().weights)
        assert other.mean() == (None if one.mean() is None else pytest.approx(one.mean(), rel=0.05))
    assert merged([EMPTY, *sketches]).weights == one.weights


@given(st.lists(figures, max_size=50))
def test_it_survives_being_written_as_json(values: list[float]) -> None:
    sketch = seen(values)
    again = sketch_of(json.loads(json.dumps(sketch.as_object())))
    assert (again.count, again.last) == (sketch.count, sketch.last)
    assert again.weights == pytest.approx(sketch.in_units().weights, abs=1e-4)
    for wrong in ({}, {"w": 1, "n": 1, "last": 1.0}, {"w": [], "n": "1", "last": 1.0}):
        with pytest.raises(ValueError, match="not a sketch"):
            sketch_of(wrong)


@pytest.mark.parametrize("wrong_by", [0.2, 0.5, 3.0, 8.0])
@pytest.mark.parametrize(("kind", "observations", "within"), [("load", 3, 0.2), ("rate", 3, 0.2), ("run", 12, 0.3)])
def test_a_wrong_fleet_file_is_overcome_by_a_few_figures(
    kind: Kind, observations: int, within: float, wrong_by: float
) -> None:
    sort, truth = KINDS[kind], 7.3
    found = estimate(seen([truth] * observations, memory=sort.memory), truth * wrong_by, sort.worth)
    assert found == pytest.approx(truth, rel=within)
    assert estimate(EMPTY, truth * wrong_by, sort.worth) == truth * wrong_by


@given(st.integers(0, 2**32), st.floats(20.0, 10_000.0))
def test_a_run_that_hung_moves_the_mean_no_more_than_a_long_one(seed: int, factor: float) -> None:
    dice = random.Random(seed)
    usual = [dice.lognormvariate(2.0, 0.4) for _ in range(40)]
    before = seen(usual).mean()
    after = seen([*usual, factor * 10.0]).mean()
    assert before is not None and after is not None
    assert before * 0.97 <= after <= before * 1.3
    # The plain mean would have moved by far more.
    assert statistics.fmean([*usual, factor * 10.0]) > 1.4 * statistics.fmean(usual)


def test_times_that_scatter_as_they_do_are_not_taken_for_outliers() -> None:
    dice = random.Random(1)
    values = [dice.expovariate(1 / 8.0) for _ in range(2000)]
    found = seen(values, memory=10**9).mean()
    assert found == pytest.approx(statistics.fmean(values), rel=0.04)


def test_the_old_fades() -> None:
    sort = KINDS["load"]
    sketch = seen([20.0] * 200 + [5.0] * 40, memory=sort.memory)
    assert estimate(sketch, 20.0, sort.worth) == pytest.approx(5.0, rel=0.25)
    assert sketch.count == 240 and sketch.weight <= sort.memory + 1e-6


def test_a_sketch_stays_small() -> None:
    dice = random.Random(2)
    sketch = EMPTY
    for _ in range(5_000):
        sketch = sketch.add(dice.lognormvariate(2.0, 1.0), memory=300)
    assert len(sketch.weights) < 250 and len(json.dumps(sketch.as_object())) < 4_000
