"""The packaged catalogue and its prompts: what is shipped is what was promised."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from hotset.agents import Agent, demo_prompts, load_registry
from hotset.agents.registry import catalogue
from hotset.errors import UsageError
from hotset.fleet import Fleet, Queue

EXPECTED = Path(__file__).parent / "data" / "agents-expected.json"


def fleet(*tiers: str) -> Fleet:
    return Fleet((), {}, {t: Queue(t, f"model-{t}", t, 60, 2) for t in tiers})


CLASSIC = fleet("light", "balanced", "complex")


def test_the_catalogue_has_the_agents_and_tiers_that_were_promised() -> None:
    expected = dict(json.loads(EXPECTED.read_text("utf-8")))
    assert {a.name: a.tier for a in load_registry(CLASSIC)} == expected


def test_counts_per_tier() -> None:
    assert Counter(a.tier for a in load_registry(CLASSIC)) == {"complex": 36, "balanced": 59, "light": 36}
    assert len(load_registry(CLASSIC)) == 131


def test_every_system_prompt_is_its_own() -> None:
    assert len({a.system for a in catalogue()}) == 131


def test_the_catalogue_leaves_tokens_and_temperature_to_task_type_and_tier() -> None:
    assert {(a.max_tokens, a.temperature) for a in catalogue()} == {(None, None)}


def test_loading_is_fast_enough_for_every_process_start() -> None:
    took = []
    for _ in range(5):
        catalogue.cache_clear()
        began = time.process_time()
        load_registry(CLASSIC)
        took.append(time.process_time() - began)
    assert min(took) < 0.15


def test_it_reads_the_same_without_the_c_loader() -> None:
    script = (
        "import yaml; yaml.__dict__.pop('CSafeLoader', None);"
        "from hotset.agents import agents_file; assert agents_file._Loader is yaml.SafeLoader;"
        "from hotset.agents.registry import catalogue; print(repr(catalogue()))"
    )
    with_c = "from hotset.agents.registry import catalogue; print(repr(catalogue()))"
    run = [
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", s], capture_output=True, text=True, encoding="utf-8", check=True
        )
        for s in (script, with_c)
    ]
    assert run[0].stdout == run[1].stdout


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_demo_prompts_cover_every_agent_once_a_round(rounds: int) -> None:
    prompts = demo_prompts(rounds)
    names = {a.name for a in catalogue()}
    assert len(prompts) == 131 * rounds
    for i in range(rounds):
        assert {agent for agent, _ in prompts[131 * i : 131 * (i + 1)]} == names
    assert all(prompt.strip() for _, prompt in prompts)
    assert len({prompt for _, prompt in prompts}) == len(prompts)
    assert demo_prompts(3)[: 131 * rounds] == prompts


def test_demo_prompts_mix_the_tiers_evenly() -> None:
    tier: dict[str, str] = {a.name: a.tier for a in catalogue()}
    first_half = Counter(tier[agent] for agent, _ in demo_prompts(1)[:66])
    assert first_half["complex"] in range(17, 20)
    assert first_half["light"] in range(17, 20)


@pytest.mark.parametrize("rounds", [0, 4, -1, True, "1"])
def test_there_are_one_to_three_rounds(rounds: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 3"):
        demo_prompts(rounds)


def test_agents_are_frozen_and_hashable() -> None:
    agent = catalogue()[0]
    assert isinstance(agent, Agent)
    assert hash(agent) == hash(catalogue()[0])
    with pytest.raises(AttributeError):
        agent.tier = "light"  # type: ignore[misc]
