"""R4: generation parameters by task type and tier, the band, the agent's own, the job's overrides."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.agents import Agent, check_overrides, generation_options, load_options
from hotset.agents.parameters import OVERRIDES
from hotset.errors import InvalidJob
from hotset.fleet import Model

#: A busy machine is no failure.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MODEL = Model("m", size_mb=800, load_s=2, context=8192)
AGENT = Agent("a", "balanced", "d", "r", "default", "s")


def options(task: str = "default", tier: str = "balanced", agent: Agent = AGENT, **overrides: Any) -> dict[str, Any]:
    return generation_options(replace(agent, task_type=task), MODEL, tier, overrides)  # type: ignore[arg-type]


# base × factor, then the band: light × 0.8 in 0.3-0.5, balanced × 1 in 0.5-0.7, complex × 1.1 in 0.7-0.9
@pytest.mark.parametrize(
    ("task", "tier", "temperature"),
    [
        ("code", "light", 0.3),  # 0.24, raised
        ("analysis", "light", 0.4),
        ("default", "light", 0.5),  # 0.56, lowered
        ("creative", "light", 0.5),  # 0.72, lowered
        ("code", "balanced", 0.5),  # 0.3, raised
        ("analysis", "balanced", 0.5),
        ("default", "balanced", 0.7),
        ("creative", "balanced", 0.7),  # 0.9, lowered
        ("code", "complex", 0.7),  # 0.33, raised
        ("analysis", "complex", 0.7),  # 0.55, raised
        ("default", "complex", 0.77),
        ("creative", "complex", 0.9),  # 0.99, lowered
        ("code", "mine", 0.3),  # a tier that users made has neither factor nor band
        ("creative", "mine", 0.9),
    ],
)
def test_temperature(task: str, tier: str, temperature: float) -> None:
    assert options(task, tier)["temperature"] == temperature


@pytest.mark.parametrize(("task", "top_p"), [("code", 0.95), ("creative", 0.95), ("analysis", 0.9), ("default", 0.9)])
@pytest.mark.parametrize("tier", ["light", "balanced", "complex", "mine"])
def test_top_p_and_repeat_penalty_depend_on_no_tier(task: str, tier: str, top_p: float) -> None:
    assert options(task, tier)["top_p"] == top_p
    assert options(task, tier)["repeat_penalty"] == 1.1


@pytest.mark.parametrize(("tier", "tokens"), [("light", 512), ("balanced", 2048), ("complex", 4096), ("mine", 2048)])
def test_tokens(tier: str, tokens: int) -> None:
    assert options(tier=tier)["num_predict"] == tokens


def test_nothing_else_is_sent() -> None:
    assert sorted(options()) == ["num_ctx", "num_predict", "repeat_penalty", "temperature", "top_p"]


def test_the_tier_of_the_run_counts_and_not_the_agents() -> None:
    assert options(tier="complex", agent=replace(AGENT, tier="light"))["num_predict"] == 4096


def test_the_agents_own_win_over_tier_and_band() -> None:
    own = options("code", "light", replace(AGENT, temperature=1.5, max_tokens=9))
    assert (own["temperature"], own["num_predict"]) == (1.5, 9)
    assert options(agent=replace(AGENT, temperature=0.0))["temperature"] == 0.0


def test_the_jobs_overrides_win_over_all() -> None:
    agent = replace(AGENT, temperature=1.5, max_tokens=9)
    said = options(
        "code", "light", agent, temperature=0, max_tokens=10, top_p=1, repeat_penalty=1.3, seed=7, stop="END"
    )
    assert said == {
        "temperature": 0,
        "num_predict": 10,
        "top_p": 1,
        "repeat_penalty": 1.3,
        "seed": 7,
        "stop": ["END"],
        "num_ctx": 8192,
    }


def test_a_run_says_no_more_than_the_context_holds() -> None:
    assert options(max_tokens=100_000)["num_predict"] == 8192
    small = replace(MODEL, context=1024)
    assert generation_options(AGENT, small, "complex", {})["num_predict"] == 1024


def test_runs_and_preloads_send_the_same_load_options() -> None:
    assert load_options(MODEL) == {"num_ctx": 8192}
    assert options(temperature=1).items() >= load_options(MODEL).items()


def test_the_simulated_service_time_passes_through() -> None:
    assert options(hotset_run_s=2.5)["hotset_run_s"] == 2.5


def test_overrides_are_checked_at_the_run_too() -> None:
    with pytest.raises(InvalidJob):
        options(temperature=9)


def test_checked_overrides_are_a_copy_without_what_is_none() -> None:
    given_ = {"temperature": 1, "seed": None, "stop": ("a", "b")}
    assert check_overrides(given_) == {"temperature": 1, "stop": ["a", "b"]}
    assert given_["stop"] == ("a", "b")
    assert check_overrides({}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", 2.0),
        ("top_p", 0.0),
        ("top_p", 1),
        ("max_tokens", 1),
        ("max_tokens", 1_000_000),
        ("repeat_penalty", 0.1),
        ("repeat_penalty", 2),
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("hotset_run_s", 0.001),
        ("hotset_fault", "load_crash"),
        ("hotset_fault", "x" * 32),
        ("stop", ["x"] * 16),
        ("stop", "x" * 200),
    ],
)
def test_values_at_the_edge(name: str, value: object) -> None:
    assert name in check_overrides({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.01),
        ("temperature", 2.01),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "0.5"),
        ("temperature", True),
        ("temperature", 10**400),
        ("top_p", 1.01),
        ("top_p", [0.5]),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 5.0),
        ("max_tokens", True),
        ("max_tokens", 1_000_001),
        ("repeat_penalty", 0),
        ("repeat_penalty", 2.1),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.5),
        ("hotset_run_s", 0),
        ("hotset_run_s", -1.0),
        ("hotset_run_s", float("inf")),
        ("hotset_run_s", "2s"),
        ("hotset_fault", ""),
        ("hotset_fault", "Crash"),
        ("hotset_fault", "x" * 33),
        ("hotset_fault", 1),
        ("hotset_fault", ["crash"]),
        ("stop", ""),
        ("stop", []),
        ("stop", ["a", ""]),
        ("stop", ["a", 1]),
        ("stop", 5),
        ("stop", {"a": 1}),
        ("stop", ["x"] * 17),
        ("stop", "x" * 201),
        ("stop", "a\x00b"),
        ("stop", "\ud800"),
    ],
)
def test_values_out_of_range_name_the_option_and_the_range(name: str, value: object) -> None:
    with pytest.raises(InvalidJob, match=f"^Option {name}=") as caught:
        check_overrides({name: value})
    assert caught.value.remedy.startswith(("Give ", "See docs/"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "Did you mean 'temperature'"),
        ("max_token", "Did you mean 'max_tokens'"),
        ("num_predict", "'max_tokens'"),
        ("max_completion_tokens", "'max_tokens'"),
        ("num_ctx", "fleet file"),
        ("model", "tier"),
        ("zzzz", "There are: temperature, top_p"),
        ("hotset_run", "Did you mean 'hotset_run_s'"),
    ],
)
def test_unknown_options_get_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InvalidJob, match=f"^There is no option '{name}'.*({hint})"):
        check_overrides({name: 1})


@pytest.mark.parametrize("name", [5, None, ("a",)])
def test_names_that_are_no_texts(name: Any) -> None:
    with pytest.raises(InvalidJob, match="no option"):
        check_overrides({name: 1})


@pytest.mark.parametrize("overrides", [[], "temperature", 3])
def test_options_that_are_no_mapping(overrides: Any) -> None:
    with pytest.raises(InvalidJob):
        check_overrides(overrides)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@calm
@given(st.dictionaries(st.sampled_from(OVERRIDES) | st.text(max_size=8), _anything, max_size=4))
def test_whatever_is_given_is_refused_with_a_remedy_or_makes_options(overrides: dict[str, Any]) -> None:
    try:
        checked = check_overrides(overrides)
    except InvalidJob as e:
        assert e.remedy
        return
    assert check_overrides(checked) == checked
    made = generation_options(AGENT, MODEL, "light", checked)
    assert 0 <= made["temperature"] <= 2
    assert 1 <= made["num_predict"] <= made["num_ctx"] == MODEL.context
