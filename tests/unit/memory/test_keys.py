"""What of a model's answer is believed: keys made of the statement's words, and nothing that anybody can slip in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotset.memory.facts import fact
from hotset.memory.keys import (
    LONG_PROPERTY,
    MOST,
    MOST_CHARS,
    NO_LINE,
    NO_PARTS,
    NO_PROPERTY,
    NONE,
    STRANGE_SUBJECT,
    TWICE,
    InUse,
    Key,
    lines,
    parse,
    prompt,
)
from hotset.memory.periods import pieces
from hotset.memory.words import stem, tokens

TOLD = {1: "Sea Otter was towed over to berth C3.", 2: "The window for refunds at Acme is 14 days."}


def only(answer: str, known: InUse = InUse()) -> Key | str:  # noqa: B008 - frozen
    return parse(answer, TOLD, known)[1]


def test_a_line_gives_subject_and_property_in_the_form_of_rules() -> None:
    found = parse("1 | Sea Otter | mooring places\n2 | Acme | refund window", TOLD, InUse())
    assert found == {
        1: Key("otter sea", "moor plac", "mooring places", frozenset({"mooring", "moor", "places", "plac"})),
        2: Key("acme", "refund window", "refund window"),
    }


@pytest.mark.parametrize(
    "line",
    ["1. Sea Otter | berth", "| 1 | Sea Otter | berth |", "- 1) 'Sea Otter' | *berth*", "1|the Sea Otter|its new berth",
     "1: Sea Otter | berth C3", "Here they are:\n1 | Sea Otter | berth\n1 | Sea Otter | Berth\nDone."],
)  # fmt: skip
def test_models_write_it_in_many_ways(line: str) -> None:
    found = only(line)
    assert isinstance(found, Key) and (found.subject, found.attribute) == ("otter sea", "berth")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", NO_LINE),
        ("3 | Sea Otter | berth", NO_LINE),
        ("1.", NONE),
        ("1 | -", NONE),
        ("1 | Sea Otter | none", NONE),
        ("1 | Sea Otter", NO_PARTS),
        ("1 | Sea Otter | berth | C3", NO_PARTS),
        ("1 | Gannet | berth", STRANGE_SUBJECT),
        ("1 | the | berth", STRANGE_SUBJECT),
        ("1 | Sea Otter | one two three four five six seven", LONG_PROPERTY),
        ("1 | Sea Otter | " + "x" * 31, LONG_PROPERTY),
        ("1 | Sea Otter | C3", NO_PROPERTY),
        ("1 | Sea Otter | sea otter", NO_PROPERTY),
        ("1 | Sea Otter | verb:be", NO_PROPERTY),
        ("1 | Sea Otter | berth\n1 | Sea Otter | tug", TWICE),
    ],
)
def test_everything_else_is_left_with_the_reason(answer: str, why: str) -> None:
    assert only(answer) == why


def test_a_known_subject_need_not_be_said_and_a_known_property_keeps_its_form() -> None:
    known = InUse(("kittiwake",), {"mooring place": "moor plac", "leas": "leas"})
    found = only("1 | Kittiwake | place of mooring", known)
    assert isinstance(found, Key) and (found.subject, found.attribute) == ("kittiwake", "moor plac")
    assert "kittiwake" in found.borrowed, "so that it goes with whom it came from"
    found = only("1 | Sea Otter | leas", known)
    assert isinstance(found, Key) and found.attribute == "leas", "whose stem would be another"


ANSWERS = st.text() | st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["Sea Otter", "Acme", "-", "x" * 50]), st.text(max_size=60)).map(
        lambda row: " | ".join(map(str, row))
    )
).map("\n".join)


@given(ANSWERS, st.dictionaries(st.integers(1, 20), st.text(min_size=1), min_size=1, max_size=5))
def test_whatever_is_answered_a_key_is_short_and_of_known_words(answer: str, told: dict[int, str]) -> None:
    known = InUse(("acme",), {"berth": "berth"})
    for numbered in (TOLD, told):
        found = parse(answer, numbered, known)
        assert found.keys() == numbered.keys()
        for number, key in found.items():
            if isinstance(key, str):
                assert key in (
                    NO_LINE, NONE, TWICE, NO_PARTS, STRANGE_SUBJECT, LONG_PROPERTY, NO_PROPERTY)  # fmt: skip
                continue
            own = {word.lower() for word in tokens(numbered[number])}
            assert set(key.subject.split()) <= own or key.subject in known.subjects
            assert fact(key.subject, key.attribute) and ":" not in key.attribute
            assert (
                len(key.attribute.split()) <= 6 and max(map(len, (key.subject, key.attribute, key.named))) <= MOST_CHARS
            )
            lacking = {w for w in (*key.subject.split(), *key.named.split()) if w not in own}
            assert all(w in key.borrowed or w in {x.lower() for x in own} or _kin(w, own) for w in lacking)


def _kin(word: str, own: set[str]) -> bool:
    """Another form of a word that the statement has."""

    return stem(word) in own | {stem(w) for w in own}


@given(st.lists(st.text(), max_size=40), st.lists(st.text(max_size=30)), st.integers(1, 3000))
def test_a_prompt_keeps_to_its_room(texts: list[str], words: list[str], budget: int) -> None:
    shown = lines(texts, budget)
    assert len(shown) <= min(MOST, len(texts)) and (not texts or shown)
    assert all("\n" not in line for line in shown), "a statement cannot begin a line of its own"
    made = prompt(dict(enumerate(shown, 1)), InUse(tuple(words), dict.fromkeys(words, "x")), budget)
    said = sum(pieces(f"{i}. {line}") for i, line in enumerate(shown, 1))
    assert pieces(made) <= max(budget, said) + 40
