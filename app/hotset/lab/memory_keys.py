"""How well rules find whom a sentence is about and which property it states, against worlds that know both.

A subject is right if it is the true one's words, no more and no less. A property has no true name, so that pairs of
sentences are judged: two that state one property shall have one key, and two that do not shall not. Precision: of what
the rules found, the right share; recall: of what there is, the share that they found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from hotset.lab.memory_world import World
from hotset.memory.facts import Statement, read
from hotset.memory.words import FUNCTION_WORDS, tokens


def extraction(worlds: Sequence[World]) -> dict[str, float]:
    """Figures of all worlds together; `n`: sentences that state one property of one subject."""
    subjects = Counter[str]()
    of_property, of_key = Counter[str](), Counter[str]()
    for world in worlds:
        said = [(key, read(world.sentences[i].text)) for i, key in world.keys.items()]
        for (subject, _), found in said:
            subjects["there"] += 1
            subjects["found"] += found.subject is not None
            subjects["both"] += found.topic == _words(subject)
        of_key += _pairs((key, (f.subject, _property(f)) if f.subject and _property(f) else None) for key, f in said)
        for subject in {subject for (subject, _), _ in said}:
            of_property += _pairs((fact, _property(f)) for (whom, fact), f in said if whom == subject)
    return {
        "n": float(subjects["there"]),
        **_shares("subject", subjects),
        **_shares("property", of_property),
        **_shares("key", of_key),
    }


def _property(found: Statement) -> str | None:
    """None, as for the core ring: a verb that says of anything that it is, or that it has one of several."""
    return None if found.attribute & {"verb:be", "verb:many"} else found.key


def _words(subject: str) -> frozenset[str]:
    return frozenset(map(str.lower, tokens(subject))) - FUNCTION_WORDS


def _pairs(said: Iterable[tuple[Hashable, Hashable | None]]) -> Counter[str]:
    """Pairs of one true key, of one found key, and of one of both; None: nothing was found."""
    rows = list(said)
    found = [row for row in rows if row[1] is not None]
    return Counter(
        {
            "there": _same(true for true, _ in rows),
            "found": _same(key for _, key in found),
            "both": _same(found),
        }
    )


def _same(keys: Iterable[Hashable]) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(keys).values())


def _shares(name: str, counts: Counter[str]) -> dict[str, float]:
    return {
        f"{name}_precision": counts["both"] / counts["found"] if counts["found"] else 1.0,
        f"{name}_recall": counts["both"] / counts["there"] if counts["there"] else 1.0,
    }
