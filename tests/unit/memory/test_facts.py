"""What a sentence is about: rules of English, on sentences of many kinds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotset.embedder import shared_embedder
from hotset.memory.chunks import chunks, semantic_chunks
from hotset.memory.facts import read
from hotset.memory.words import names, sentences, stem, terms, tokens

TEXT = st.text(max_size=300)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Acme's refund window is 14 days.", {"acme"}),
        ("The budget of Falcon is 10,000 euros.", {"falcon"}),
        ("Please note that the deadline for Atlas is Friday.", {"atlas"}),
        ("Dana Wolf is in charge of Saffron.", {"saffron"}),
        ("We moved the Atlas review to Friday.", {"atlas"}),
        ("As of Monday, Maria lives in Porto.", {"maria"}),
    ],
)
def test_a_sentence_is_about_whom_it_names(text: str, topic: set[str]) -> None:
    assert read(text).topic == topic


@settings(deadline=None, max_examples=40)
@given(TEXT)
def test_no_text_breaks_the_rules(text: str) -> None:
    assert read(text) == read(text)


@settings(deadline=None, max_examples=40)
@given(TEXT)
def test_words_of_any_text(text: str) -> None:
    assert names(text) <= terms(text)
    assert all(len(t) <= 100 for t in terms(text))
    assert all(stem(t.lower()) for t in tokens(text))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["One short sentence.", "Another is here!", "word " * 250 + "."]), max_size=40))
def test_parts_lose_no_word_and_are_short(parts: list[str]) -> None:
    text = " ".join(parts)
    found = chunks(text)
    assert set(text.split()) <= {word for part in found for word in part.split()}
    assert all(len(part.split()) <= 200 for part in found)


def test_a_part_begins_with_the_last_sentence_of_the_one_before() -> None:
    text = " ".join(f"This is the sentence number {i} of a rather long report." for i in range(60))
    first, second, *_ = chunks(text)
    assert sentences(first)[-1] == sentences(second)[0]


@pytest.mark.parametrize(
    "text",
    [
        "Please note that Mr. Ellery has replaced Nuala Finn as clerk in Kilbrae.",
        "At St. Brendan's Hospital Dr. Prewitt is on call.",
        "In Harlan v. Harlan the judge is Ms. Oduya.",
        "J. P. Radley trains with C.K. Osei in No. 7.",
        "Mr. and Mrs. Carey sign for it (e.g. Cheques).",
    ],
)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert sentences(text) == [text]
    assert read(text).alone


@pytest.mark.parametrize(
    "text",
    [
        "We chose plan B.|The rest waits.",
        "So do I.|Tom does, too.",
        "Ask the Dr.|He knows.",
        "Is it ready?|No.|Tom is ill.",
        "They are six.|5 of them came.",
        "Petra runs.|Harlan swims!|J. P. Radley rows.",
    ],
)
def test_a_full_stop_ends_one(text: str) -> None:
    assert sentences(text.replace("|", " ")) == text.split("|")


def meanings(pieces: list[str]) -> Iterable[Any]:
    return shared_embedder().embed(pieces)[0]


def test_a_text_is_cut_where_its_meaning_changes() -> None:
    topics = [
        "The ferry {} leaves the harbour at dawn and carries cars across the bay.",
        "Our accountant {} files the tax return and checks every invoice twice.",
        "The goalkeeper {} saved two penalties and won the football match.",
    ]
    text = " ".join(topic.format(name) for topic in topics for name in ("Anna", "Berta", "Clara", "Dora") * 2)
    parts = semantic_chunks(text, meanings)
    assert sentences(" ".join(parts)) == sentences(text)
    # None speaks of two topics.
    assert all(sum(word in part for word in ("ferry", "accountant", "goalkeeper")) == 1 for part in parts)
    assert any(sum(word in part for word in ("ferry", "accountant", "goalkeeper")) == 2 for part in chunks(text))


def test_a_short_text_is_not_cut_whatever_its_meaning() -> None:
    text = "The ferry leaves at dawn. Our accountant files the tax return."
    assert semantic_chunks(text, meanings) == [text]
