"""How well keys are found is told rightly: of keys that are all right, all wrong, and of which half are missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hotset.lab.memory_keys import extraction
from hotset.lab.memory_world import Sentence, World

AT = datetime(2026, 1, 1, tzinfo=UTC)


def world(*said: tuple[str, str, str]) -> World:
    made = World()
    for i, (text, subject, fact) in enumerate(said):
        made.sentences.append(Sentence(text, AT, "user", 0))
        made.keys[i] = subject, fact
    return made


def test_right_keys_are_right() -> None:
    told = world(
        ("Acme's refund window is 14 days.", "Acme", "refund"),
        ("Acme's refund window is 30 days now.", "Acme", "refund"),
        ("Initech's refund window is 30 days.", "Initech", "refund"),
    )
    assert extraction([told, told]) == {
        "n": 6, "subject_precision": 1, "subject_recall": 1, "property_precision": 1, "property_recall": 1,
        "key_precision": 1, "key_recall": 1}  # fmt: skip


def test_what_is_not_found_costs_recall_and_what_is_wrong_precision() -> None:
    told = world(
        ("Acme's refund window is 14 days.", "Acme", "refund"),
        ("Acme's refund window is 30 days now.", "Initech", "delivery"),
        ("it rains.", "Acme", "refund"),
    )
    found = extraction([told])
    assert found["subject_precision"] == pytest.approx(1 / 2)
    assert found["subject_recall"] == pytest.approx(1 / 3)
    assert (found["key_precision"], found["key_recall"]) == (0, 0)
