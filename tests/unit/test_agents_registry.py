"""The registry: users' own agents beside the catalogue, and files that are wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hotset.agents import Agent, Registry, load_registry
from hotset.errors import InvalidCatalogue, UnknownAgent
from hotset.fleet import Fleet, Queue

OWN: dict[str, Any] = {
    "name": "bread-baker",
    "tier": "balanced",
    "domain": "food",
    "role": "bake bread",
    "task_type": "creative",
    "system": "You bake.",
}


def fleet(*tiers: str) -> Fleet:
    return Fleet((), {}, {f"q-{t}": Queue(f"q-{t}", f"model-{t}", t, 60, 2) for t in tiers})


CLASSIC = fleet("light", "balanced", "complex")


def load(tmp_path: Path, *agents: object, text: str | None = None, on: Fleet = CLASSIC) -> Registry:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(list(agents)) if text is None else text, "utf-8")
    return load_registry(on, file)


def refused(tmp_path: Path, *agents: object, text: str | None = None) -> str:
    with pytest.raises(InvalidCatalogue) as caught:
        load(tmp_path, *agents, text=text)
    assert caught.value.remedy
    assert "own.yaml" in str(caught.value)
    return str(caught.value)


def test_own_agents_come_after_the_catalogue(tmp_path: Path) -> None:
    registry = load(tmp_path, OWN | {"max_tokens": 100, "temperature": 1})
    assert len(registry) == 132
    assert registry.names[-1] == "bread-baker"
    assert registry.get("bread-baker") == Agent(**OWN, max_tokens=100, temperature=1.0)
    assert "bread-baker" in registry
    assert [a.name for a in registry] == list(registry.names)


def test_an_own_agent_replaces_one_of_the_catalogue_in_its_place(tmp_path: Path) -> None:
    before = load_registry(CLASSIC)
    name = before.names[3]
    registry = load(tmp_path, OWN | {"name": name, "replaces": True})
    assert registry.names == before.names
    assert registry.get(name).system == "You bake."
    assert registry.get(name).tier == "balanced"
    assert load_registry(CLASSIC).get(name) == before.get(name)


@pytest.mark.parametrize("more", [{}, {"replaces": False}])
def test_a_name_of_the_catalogue_is_taken_unless_replaced(tmp_path: Path, more: dict[str, object]) -> None:
    said = refused(tmp_path, OWN | {"name": "system-architect"} | more)
    assert "replaces: true" in said
    assert "'system-architect'" in said


def test_replacing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    said = refused(tmp_path, OWN | {"name": "sistem-architect", "replaces": True})
    assert "'system-architect'" in said


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]"])
def test_a_file_without_agents_is_fine(tmp_path: Path, text: str) -> None:
    assert len(load(tmp_path, text=text)) == 131


@pytest.mark.parametrize("name", ["a", "9", "a" * 100, "a-", "0-1-2"])
def test_names_that_are_allowed(tmp_path: Path, name: str) -> None:
    assert name in load(tmp_path, OWN | {"name": name})


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a_b", "ä", "a\n", "a" * 101, 7, None, True, ["a"]])
def test_names_that_are_not(tmp_path: Path, name: object) -> None:
    assert "name: " in refused(tmp_path, OWN | {"name": name})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task_type", "poetry"),
        ("task_type", ["code"]),
        ("tier", 3),
        ("tier", " "),
        ("domain", ""),
        ("role", "x" * 501),
        ("system", ""),
        ("system", "  \n "),
        ("system", "x" * 8001),
        ("system", None),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", "100"),
        ("max_tokens", True),
        ("max_tokens", 1_000_001),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0.5"),
        ("temperature", False),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("replaces", "yes"),
        ("replaces", 1),
    ],
)
def test_values_that_are_wrong_name_agent_and_key(tmp_path: Path, key: str, value: object) -> None:
    said = refused(tmp_path, OWN | {key: value})
    assert "line 1, agent 'bread-baker'" in said
    assert f"{key}: " in said


@pytest.mark.parametrize("key", sorted(OWN))
def test_keys_that_are_missing(tmp_path: Path, key: str) -> None:
    assert f"{key}: it is missing" in refused(tmp_path, {k: v for k, v in OWN.items() if k != key})


def test_an_unknown_key_gets_a_hint(tmp_path: Path) -> None:
    said = refused(tmp_path, OWN | {"max_token": 3})
    assert "there is no key 'max_token'" in said
    assert "Did you mean 'max_tokens'" in said


@pytest.mark.parametrize("key", ["zzzz", 5])
def test_an_unknown_key_that_is_near_to_none_gets_the_list(tmp_path: Path, key: object) -> None:
    assert "There are: name, tier, domain" in refused(tmp_path, {key: 1} | OWN)


def test_a_tier_that_no_queue_serves(tmp_path: Path) -> None:
    said = refused(tmp_path, OWN | {"tier": "huge"})
    assert "'huge'" in said
    assert "balanced, complex, light" in said


def test_a_system_prompt_of_the_greatest_length(tmp_path: Path) -> None:
    assert len(load(tmp_path, OWN | {"system": "x" * 8000}).get("bread-baker").system) == 8000


def test_space_around_a_prompt_is_dropped(tmp_path: Path) -> None:
    assert load(tmp_path, OWN | {"system": "\n  You bake.\n\n"}).get("bread-baker").system == "You bake."


def test_the_line_of_the_second_agent(tmp_path: Path) -> None:
    text = yaml.safe_dump([OWN], sort_keys=False) + "\n# another\n" + yaml.safe_dump([OWN | {"name": "b", "tier": 4}])
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.startswith("- domain"))
    assert f"own.yaml, line {line}, agent 'b'" in refused(tmp_path, text=text)


def test_a_name_given_twice_names_both_places(tmp_path: Path) -> None:
    said = refused(tmp_path, dict(OWN), dict(OWN))
    assert "line 7" in said
    assert "line 1" in said


def test_a_key_given_twice_is_not_lost_in_silence(tmp_path: Path) -> None:
    assert "'system' is given twice" in refused(tmp_path, text=yaml.safe_dump([OWN]) + "  system: You brew.\n")


@pytest.mark.parametrize(
    "text",
    [
        "name: x",
        "just words",
        "- just words",
        "- [name, x]",
        "- null",
        "- name: [unclosed",
        "- name: x\n tier: y",
        "- &a [*a]",
        "- {[a, b]: c}",
        "- {a: b}\n---\n- {c: d}",
        "- name: !!python/object/apply:os.system ['true']",
        "- name: 2024-99-99",
        "- *nothing",
        "\t- x",
        "- \x01",
        "5",
    ],
)
def test_files_that_are_not_a_list_of_agents(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text=text)


def test_anchors_and_merges_may_be_used(tmp_path: Path) -> None:
    text = yaml.safe_dump([OWN]).replace("- ", "- &base\n  ", 1) + "- <<: *base\n  name: b\n  system: You brew.\n"
    registry = load(tmp_path, text=text)
    assert registry.get("b").role == "bake bread"
    assert registry.get("b").system == "You brew."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalogue, match=r"gone\.yaml: No such file.*setting `agents`"):
        load_registry(CLASSIC, tmp_path / "gone.yaml")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalogue, match="directory"):
        load_registry(CLASSIC, tmp_path)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"- name: caf\xe9\n")
    with pytest.raises(InvalidCatalogue, match=r"own\.yaml: byte 11 is not UTF-8"):
        load_registry(CLASSIC, tmp_path / "own.yaml")


def test_an_unknown_agent_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownAgent, match="'senior-backend-developer'"):
        load_registry(CLASSIC).get("senior-backend-developr")


def test_catalogue_agents_whose_tier_no_queue_serves_are_left_out_and_say_why() -> None:
    registry = load_registry(fleet("light"))
    assert len(registry) == 36
    assert {a.tier for a in registry} == {"light"}
    assert len(registry.unserved) == 95
    assert "system-architect" not in registry
    with pytest.raises(UnknownAgent, match="no queue of the fleet serves its tier 'complex'"):
        registry.get("system-architect")


def test_an_agent_of_the_catalogue_can_be_moved_to_a_tier_of_the_fleet(tmp_path: Path) -> None:
    moved = OWN | {"name": "system-architect", "tier": "huge", "replaces": True}
    registry = load(tmp_path, moved, on=fleet("light", "huge"))
    assert registry.get("system-architect").tier == "huge"
    assert "system-architect" not in {a.name for a in registry.unserved}
