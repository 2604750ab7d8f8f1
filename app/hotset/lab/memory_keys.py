"""How well rules, or a model, find whom a sentence is about and which property it states, against worlds that know it.

A subject is right if it is the true one's words, no more and no less. A property has no true name, so that pairs of
sentences are judged: two that state one property shall have one key, and two that do not shall not. Precision: of what
was found, the right share; recall: of what there is, the share that was found.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hotset.lab.memory_world import World
from hotset.memory.facts import fact, read
from hotset.memory.keys import ANSWER_TOKENS, MOST, MOST_KNOWN, SYSTEM, InUse, Key, lines, parse, prompt
from hotset.memory.words import FUNCTION_WORDS, tokens
from hotset.models import ModelServer, Prompt

#: Of a small model that has to be fast; tokens.
_CONTEXT = 4096
_FIRST_TOKEN_S, _STALL_S = 330.0, 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """Of one sentence. `attribute` None: no property."""

    topic: frozenset[str]
    attribute: str | None


#: Of a world what is found of which of its sentences.
Finder = Callable[[World], Mapping[int, Found]]


def by_rules(world: World) -> dict[int, Found]:
    found = {}
    for i in world.keys:
        said = read(world.sentences[i].text)
        # As for the core ring.
        found[i] = Found(said.topic, said.key if fact("any", said.key) else None)
    return found


def extraction(worlds: Sequence[World], find: Finder = by_rules) -> dict[str, float]:
    """Figures of all worlds together; `n`: sentences that state one property of one subject."""
    subjects = Counter[str]()
    of_property, of_key = Counter[str](), Counter[str]()
    nothing = Found(frozenset(), None)
    for world in worlds:
        found = find(world)
        said = [(key, found.get(i, nothing)) for i, key in world.keys.items()]
        for (subject, _), one in said:
            subjects["there"] += 1
            subjects["found"] += bool(one.topic)
            subjects["both"] += one.topic == _words(subject)
        of_key += _pairs((key, (f.topic, f.attribute) if f.topic and f.attribute else None) for key, f in said)
        for subject in {subject for (subject, _), _ in said}:
            of_property += _pairs((name, f.attribute) for (whom, name), f in said if whom == subject)
    return {
        "n": float(subjects["there"]),
        **_shares("subject", subjects),
        **_shares("property", of_property),
        **_shares("key", of_key),
    }


def by_model(
    worlds: Sequence[World], server: ModelServer, model: str, progress: Callable[[str], None]
) -> dict[str, float]:
    """As `extraction`, by a model that is asked as workers ask it, but with nothing between; and what was left of its
    answers. `simulated`: 1 if its words mean nothing, and so no figure here does."""
    asked = Counter[str]()
    began = time.perf_counter()

    def find(world: World) -> dict[int, Found]:
        progress(f"keys by {model}: {len(world.sentences)} sentences")
        keys = _keys_of(world, lambda text: _answer(server, model, text), asked)
        return {i: Found(frozenset(key.subject.split()), key.attribute) for i, key in keys.items()}

    figures = extraction(worlds, find)
    return {
        **figures,
        "simulated": float(server.info().simulated),
        "jobs": float(asked["jobs"]),
        "kept": asked["kept"] / max(1, asked["statements"]),
        "s_per_statement": (time.perf_counter() - began) / max(1, asked["statements"]),
        **{f"left: {why}": n / asked["statements"] for why, n in asked.items() if why not in _COUNTED},
    }


_COUNTED = ("jobs", "statements", "kept")


def _keys_of(world: World, answer: Callable[[str], str], asked: Counter[str]) -> dict[int, Key]:
    """Of a world's sentences, in order, as many a job as one takes."""
    found: dict[int, Key] = {}
    waiting = list(world.keys)
    budget = int(0.8 * _CONTEXT) - ANSWER_TOKENS
    while waiting:
        texts = [world.sentences[i].text for i in waiting[:MOST]]
        shown = dict(enumerate(lines(texts, budget), 1))
        known = _in_use(world, found, texts)
        said = parse(answer(prompt(shown, known, budget)), dict(zip(shown, texts, strict=False)), known)
        asked["jobs"] += 1
        asked["statements"] += len(shown)
        for number, key in said.items():
            if isinstance(key, Key):
                found[waiting[number - 1]] = key
            asked["kept" if isinstance(key, Key) else key] += 1
        waiting = waiting[len(shown) :]
    return found


def _in_use(world: World, found: Mapping[int, Key], texts: Sequence[str]) -> InUse:
    """As `keys_in_use.sql`: by the model, and by rules where the model has found none."""
    words = {word.lower() for text in texts for word in tokens(text)}
    subjects, forms, names = Counter[str](), Counter[str](), dict[str, str]()
    for i in world.keys:
        if i in found:
            key = found[i]
            subjects[key.subject] += 1
            forms[key.attribute] += 1
            names[key.attribute] = min(names.get(key.attribute, key.named), key.named)
            continue
        said = read(world.sentences[i].text)
        if said.subject and said.key and "verb:" not in said.key:
            subjects[said.subject] += 1
            forms[said.key] += 1
    return InUse(
        tuple(s for s, _ in subjects.most_common() if words & set(s.split()))[:MOST_KNOWN],
        {names.get(form, form): form for form, _ in forms.most_common(MOST_KNOWN)},
    )


def _answer(server: ModelServer, model: str, text: str) -> str:
    options = {"temperature": 0.0, "num_predict": ANSWER_TOKENS, "num_ctx": _CONTEXT}
    asked = Prompt(model, text, system=SYSTEM, options=options)
    generation = server.generate(asked, first_token_timeout_s=_FIRST_TOKEN_S, stall_timeout_s=_STALL_S)
    try:
        return "".join(chunk.text for chunk in generation)
    finally:
        generation.close()


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
