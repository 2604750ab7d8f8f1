"""Does a statement give a new value of something that was stated before, and of which? Pure.

Sentences that announce a change name it in any words ("We flashed Laser 2 with Firefly"): no list of verbs knows them
all. So each earlier statement that shares a name is compared in structure, meaning, words and the kind of its value; at
most one of them is renewed, or none: a conditional logit (McFadden 1974). A value's kind is told by what else it was
said of: where "Laser 5 runs the firmware Merlin" is known, Merlin is a firmware of Laser 2, too.

`hotset.lab.memory_fit` fits the weights, on sentences that the encoder's adapter was not trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotset.memory.facts import Statement, kinds_of
from hotset.memory.weights import fitted
from hotset.memory.words import NO_NAMES, stem

if TYPE_CHECKING:
    import numpy as np

    from hotset.memory.vectors import Vector

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

#: From so probable on, the earlier statement is closed.
SURE = 0.8
#: From so probable on, the later goes before the earlier in answers, and both stand.
LIKELY = 0.15
#: The most that is said of a sentence that does not name what the earlier is about: it closes nothing.
UNSURE = 0.79
#: At least so much of a value that the new sentence calls the old one has to stand in the earlier.
_TOLD = 0.5


@dataclass(frozen=True, slots=True)
class Known:
    """A statement as it is stored. `whole`, `about`: vectors of its meaning, and of the property that it states."""

    statement: Statement
    terms: frozenset[str]
    whole: Vector
    about: Vector


def renewed(new: Known, earlier: Sequence[Known], witnesses: Sequence[Known]) -> list[float]:
    """For each earlier statement how probable it is that `new` renews it; together at most 1.

    `witnesses`: what shares a name or a number with `new`, whenever it was said.
    """
    import numpy as np

    if not earlier:
        return []
    weights = fitted("renewal", (*NAMES, *NOTHING))
    utility = features(new, earlier, witnesses) @ np.array(weights[: len(NAMES)])
    nothing = weights[-2] + weights[-1] * new.statement.change
    most = max(float(utility.max()), nothing)
    shares = np.exp(utility - most)
    total = float(shares.sum()) + float(np.exp(nothing - most))
    return [
        min(float(share) / total, 1.0 if _names_topic(new, old) else UNSURE)
        for share, old in zip(shares, earlier, strict=True)
    ]


def _names_topic(new: Known, old: Known) -> bool:
    """Whether the new sentence names whom or what the earlier is about, as far as that is known. Where it does not,
    another may just have the same value ("Tom reports to Dana Wolf", "Priya reports to Dana Wolf")."""
    a, b = new.statement, old.statement
    first, before = _first_name(a), _first_name(b)
    if first and before and first.isdisjoint(b.names) and before.isdisjoint(a.names):
        return False
    return not b.topic or not b.topic.isdisjoint(a.topic | a.names | a.stems)


def _first_name(said: Statement) -> frozenset[str]:
    """What a capital at the beginning alone makes a name stands first; else the first of the runs."""
    return said.names - frozenset().union(*said.runs) or next(iter(said.runs), frozenset())


def features(new: Known, earlier: Sequence[Known], witnesses: Sequence[Known]) -> Numbers:
    """A row for each earlier statement, in the order of `NAMES`."""
    import numpy as np

    kinds = _kinds_of_values(new, earlier, witnesses)
    return np.array([_compared(new, old, kind) for old, kind in zip(earlier, kinds, strict=True)])


#: What is compared. `x*change`: x where the new sentence has a word of change, else 0.
NAMES = (
    "about", "whole", "words shared", "some words shared", "numbers in both", "numbers in one", "names in both",
    "names in one", "same property", "same kind", "about*change", "old value told", "one topic", "topics apart",
    "names of new alone", "names of old alone", "whole names shared", "a whole name shared", "kind of value",
    "names shared", "several without change", "another old value told", "same property of one topic",
    "same kind*change",
)  # fmt: skip
#: Utilities of "renews nothing", and of it where there is a word of change.
NOTHING = ("nothing", "nothing*change")


def _compared(new: Known, old: Known, kind: float) -> list[float]:
    a, b = new.statement, old.statement
    named = frozenset(t for t in new.terms & old.terms if not t[0].isdigit() and t not in NO_NAMES)
    left, other = new.terms - named, old.terms - named
    stems = {stem(t) for t in named}
    words, others = (a.stems | left) - stems, (b.stems | other) - stems
    common = len(words & others)
    about, change = float(new.about @ old.about), float(a.change)
    same = bool(b.attribute) and a.attribute == b.attribute and not b.attribute & {"verb:be", "verb:many"}
    kin = bool(kinds_of(a.key) & kinds_of(b.key))
    one_topic = bool(a.topic and b.topic) and (a.topic <= b.topic or b.topic <= a.topic)
    apart = bool(a.topic and b.topic) and not one_topic and not (a.topic & b.names and b.topic & a.names)
    told = bool(a.old) and len(a.old & b.stems) >= _TOLD * len(a.old)
    runs = sum(run <= b.names for run in a.runs)
    return [
        about,
        float(new.whole @ old.whole),
        common / max(1, min(len(words), len(others))),
        min(common, 2) / 2,
        _numbers(left) and _numbers(other),
        _numbers(left) != _numbers(other),
        _names(left) and _names(other),
        _names(left) != _names(other),
        same,
        kin,
        about * change,
        told,
        one_topic,
        apart,
        sum(not run & (b.names | b.stems) for run in a.runs) > 1,
        sum(not run & (a.names | a.stems) for run in b.runs) > 1,
        runs,
        runs > 0,
        kind,
        len(named),
        "verb:many" in a.attribute and not a.change,
        bool(a.old) and not told,
        same and one_topic,
        kin * change,
    ]


def _kinds_of_values(new: Known, earlier: Sequence[Known], witnesses: Sequence[Known]) -> list[float]:
    """How near the nearest witness comes to an earlier statement: one that has a value of the new one, and is said of
    somebody else."""
    import numpy as np

    if not witnesses:
        return [0.0] * len(earlier)
    near = np.array([old.about for old in earlier]) @ np.array([w.about for w in witnesses]).T
    values = [w.terms & new.terms for w in witnesses]
    found = []
    for old, row in zip(earlier, near, strict=True):
        named = {t for t in new.terms & old.terms if not t[0].isdigit() and t not in NO_NAMES}
        said = [float(n) for w, v, n in zip(witnesses, values, row, strict=True)
                if w is not old and v - old.terms and not w.terms & named]  # fmt: skip
        found.append(max(said, default=0.0))
    return found


def _numbers(terms: Collection[str]) -> bool:
    return any(t[0].isdigit() for t in terms)


def _names(terms: Collection[str]) -> bool:
    return any(not t[0].isdigit() and t not in NO_NAMES for t in terms)
