"""Questions that lead over another name: which memory leads there, and which answers; and where none has to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest

from hotset.memory.candidates import Candidate, Question
from hotset.memory.detours import NAMES, detours, features, probabilities
from hotset.memory.facts import kinds, kinds_of, read
from hotset.memory.ranking import rank
from hotset.memory.words import content, stem, terms

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKS, ENDS, LEADS = np.eye(3, dtype=np.float32)


def question(text: str, *names: str) -> Question:
    stems = frozenset(content(text)) - {stem(n) for n in names}
    return Question(text, frozenset(names), stems, START + timedelta(days=100), kinds(text))


def candidate(
    number: int, text: str, about: float, whole: float, vector: object, *, closed: int | None = None, by: int = 0
) -> Candidate:
    return Candidate(
        UUID(int=number), terms(text), frozenset(content(text)), whole, about, "user", START + timedelta(days=number),
        None if closed is None else START + timedelta(days=closed), UUID(int=by) if by else None,
        kinds_of(read(text).key), np.asarray(vector),
    )  # fmt: skip


END = question("When does the project end that Tom works on?", "tom")
BRIDGE = candidate(1, "Tom works on Zephyr.", 0.3, 0.7, WORKS)
TARGET = candidate(2, "Zephyr ends on 3 May.", 0.6, 0.5, ENDS)
OTHER = candidate(3, "Zephyr is led by Nora.", 0.1, 0.3, LEADS)
AWAY = candidate(4, "Quartz ends on 9 June.", 0.6, 0.5, ENDS)


def test_a_detour_leads_from_the_name_of_the_question_over_another_to_what_is_said_of_that() -> None:
    found = detours(END, [BRIDGE, TARGET, OTHER, AWAY])
    assert {(d.bridge.id.int, d.target.id.int) for d in found} == {(1, 2), (1, 3)}
    assert all(d.share == 1.0 and not d.by_words for d in found)


def test_what_has_no_name_is_met_by_its_words() -> None:
    asked = question("What is the rent of the house that Ada inherited?", "ada")
    bridge = candidate(1, "Ada inherited the old mill.", 0.3, 0.7, WORKS)
    near, far = candidate(2, "the old mill is let for 90 euros.", 0.5, 0.5, ENDS), candidate(3, "It rains.", 0, 0, ENDS)
    (one,) = detours(asked, [bridge, near, far])
    assert one.target is near
    assert one.by_words


@pytest.mark.parametrize("met", ["Tom starts on Monday.", "Tom is 40.", "Tom ends."])
def test_neither_days_nor_numbers_nor_words_of_the_question_lead_anywhere(met: str) -> None:
    beside = [candidate(n, t, 0.5, 0.5, ENDS) for n, t in enumerate(("Quartz ends on Monday.", "Quartz is 40."), 5)]
    assert detours(END, [candidate(1, met, 0.3, 0.7, WORKS), *beside]) == []


def test_a_question_without_names_leads_nowhere() -> None:
    assert detours(question("When does it end?"), [BRIDGE, TARGET]) == []


def test_the_pair_that_says_both_is_the_most_probable_and_none_where_the_answer_is_direct() -> None:
    found = detours(END, [BRIDGE, OTHER, TARGET])
    assert {len(row) for row in features(END, found, {})} == {len(NAMES)}
    led = dict(zip((d.target.id.int for d in found), probabilities(END, found, {BRIDGE: -1.0}), strict=True))
    assert sum(led.values()) <= 1
    assert led[2] > 0.5 > 10 * led[3]
    direct = question("Where does Tom live?", "tom")
    assert sum(probabilities(direct, detours(direct, [BRIDGE, OTHER, TARGET]), {BRIDGE: 6.0})) < 0.1


def test_of_what_was_said_there_the_current_version_goes_first_with_the_bridge() -> None:
    old = candidate(2, "Zephyr ends on 3 May.", 0.6, 0.5, ENDS, closed=9, by=9)
    new = candidate(9, "Zephyr got until 8 July.", 0.2, 0.2, ENDS)
    more = [candidate(n, f"Zephyr is led by Nora{n}.", 0.1, 0.3, LEADS) for n in range(10, 15)]
    found = [i.int for i, _ in rank(END, [BRIDGE, old, new, *more], 5)]
    assert found[:2] == [9, 1]
    assert 2 not in found[:4]


def test_a_single_place_is_the_answers() -> None:
    assert [i.int for i, _ in rank(END, [BRIDGE, TARGET, OTHER], 1)] == [2]
