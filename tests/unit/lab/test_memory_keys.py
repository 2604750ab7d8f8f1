"""How well keys are found is told rightly: of keys that are all right, all wrong, and of which half are missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hotset.lab.memory_keys import by_model, extraction
from hotset.lab.memory_world import Sentence, World
from hotset.models import OllamaServer
from hotset.modelserver import serving
from hotset.modelserver.bodies import Ask
from hotset.modelserver.generate import Generator, Plan
from ollama_server import FLEET

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


class Scripted:
    """In place of the simulated server's words: each statement is of the window of its first word."""

    def __init__(self, text: str) -> None:
        said = [line.partition(". ") for line in text.splitlines() if line[:1].isdigit()]
        self._text = "\n".join(f"{number} | {words.split()[0]} | window" for number, _, words in said)

    def between(self, start: int, end: int) -> tuple[str, str]:
        return "", self._text if start == 0 else ""


def test_a_model_is_asked_as_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client and the repository's simulated server, whose words are scripted."""

    def scripted(self: Generator, ask: Ask, *rest: Any) -> Plan:
        return replace(planned(self, ask, *rest), words=Scripted(ask.text))  # type: ignore[arg-type]

    planned = Generator._plan
    monkeypatch.setattr(Generator, "_plan", scripted)
    told = world(*[(f"Acme{i % 3}'s window is {i} days.", f"Acme{i % 3}", "window") for i in range(30)])
    said: list[str] = []
    with serving(FLEET, "gpu0", scale=0.001) as url, OllamaServer(url) as server:
        found = by_model([told], server, "tinyllama", said.append)
    assert (found["simulated"], found["jobs"], found["kept"], found["n"]) == (1, 2, 1, 30)
    shares = [f"{part}_{what}" for part in ("subject", "property", "key") for what in ("precision", "recall")]
    assert [found[name] for name in shares] == [1] * 6 and said == ["keys by tinyllama: 30 sentences"]
