"""True keys, and true keys with a known share of mistakes."""

from __future__ import annotations

from hotset.lab.memory_oracle import ORACLES, Oracle, keys_of
from hotset.lab.memory_world import make_world, read_templates

WORLD = make_world(read_templates("sixth"), 1)


def test_true_keys_are_the_same_for_one_property_of_one_subject_alone() -> None:
    found = keys_of(WORLD, Oracle(), 1)
    assert set(found) == WORLD.keys.keys() - set(WORLD.standing), "what holds for several values has none"
    by_key: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for i, key in found.items():
        by_key.setdefault((key.subject, key.attribute), set()).add(WORLD.keys[i])
    assert all(len(true) == 1 for true in by_key.values())


def test_the_shares_are_those_that_are_said() -> None:
    true = keys_of(WORLD, Oracle(), 1)
    wrong = keys_of(WORLD, ORACLES["true keys, 25 % wrong"], 1)
    assert 0.15 < sum(wrong[i] != key for i, key in true.items()) / len(true) < 0.35
    assert all(wrong[i].subject == key.subject for i, key in true.items()), "the hardest to see"
    assert {*wrong} - {*true} <= {*WORLD.standing} and {*wrong} > {*true}
    missing = keys_of(WORLD, ORACLES["true keys, 25 % missing"], 1)
    assert 0.65 < len(missing) / len(true) < 0.85 and all(true[i] == key for i, key in missing.items())
    assert set(keys_of(WORLD, Oracle(lacking=True), 1)) < set(true)
