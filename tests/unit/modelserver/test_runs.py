import random
import statistics
from dataclasses import replace

import pytest

from hotset.fleet import Fleet, Model, Queue
from hotset.modelserver.profiles import VARIATION, OfRuns, profile_of, profiles_of
from hotset.modelserver.runs import Run, plan, tokens_in

MODEL = Model("m", 800, 2.0, tokens_per_s=40.0)


def run(seed: int = 1, speed: float = 1.0, cpu_share: float = 0.0, text: str = "hello", **options: object) -> Run:
    return plan(
        profile_of(MODEL, OfRuns(8.0)),
        text,
        options,
        context=4096,
        speed=speed,
        cpu_share=cpu_share,
        rng=random.Random(seed),
    )


def test_runs_have_the_mean_of_the_queue_and_vary() -> None:
    runs = [run(seed) for seed in range(20_000)]
    times = [each.prompt_eval_s + each.eval_s for each in runs]
    assert statistics.mean(times) == pytest.approx(8.0, rel=0.02)
    assert statistics.stdev(times) / statistics.mean(times) == pytest.approx(VARIATION, rel=0.05)


def test_time_is_tokens_over_the_rate() -> None:
    drawn = run()
    assert drawn.eval_s == pytest.approx(drawn.output_tokens / 40.0)
    assert drawn.prompt_eval_s == pytest.approx(drawn.prompt_tokens / 1000.0)


def test_num_predict_caps() -> None:
    capped = run(num_predict=4)
    assert (capped.output_tokens, capped.done_reason, capped.eval_s) == (4, "length", 0.1)
    assert run(num_predict=100_000).done_reason == "stop"


@pytest.mark.parametrize("num_predict", [None, 5])
def test_a_fixed_run_takes_exactly_that(num_predict: int | None) -> None:
    fixed = run(hotset_run_s=7.31, num_predict=num_predict)
    assert fixed.prompt_eval_s + fixed.eval_s == pytest.approx(7.31)
    assert fixed.output_tokens == (5 if num_predict else 292)


def test_a_fixed_run_holds_for_a_prompt_that_would_take_longer() -> None:
    fixed = run(text="x" * 400_000, hotset_run_s=2.0)
    assert fixed.prompt_eval_s + fixed.eval_s == pytest.approx(2.0)


def test_speed_and_the_cpu_change_times_not_words() -> None:
    plain, fast, half_on_cpu = run(), run(speed=2.0), run(cpu_share=0.5)
    assert fast.eval_s == pytest.approx(plain.eval_s / 2)
    assert half_on_cpu.eval_s == pytest.approx(plain.eval_s * 2.5)
    assert plain.output_tokens == fast.output_tokens == half_on_cpu.output_tokens


def test_the_mean_comes_from_the_queue_that_uses_the_model() -> None:
    fleet = Fleet(gpus=(), models={"m": MODEL}, queues={"q": Queue("q", "m", "light", 30.0, 3.5)})
    assert profiles_of(fleet)["m"].answers == OfRuns(3.5)
    assert profiles_of(replace(fleet, queues={}))["m"].answers == OfRuns(5.0)


def test_tokens_in() -> None:
    assert [tokens_in(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
