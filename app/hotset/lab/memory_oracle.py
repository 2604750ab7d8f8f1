"""What keys by a model could bring to answers at best, and how many wrong or missing ones they may have: the true keys
of a world, kept as those of a model are, with a share of them spoilt.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from hotset.client import Client
from hotset.lab.memory_world import World
from hotset.memory import keyrows
from hotset.memory.facts import read
from hotset.memory.keys import Key
from hotset.memory.session import As, opened
from hotset.memory.words import FUNCTION_WORDS, stem, tokens


@dataclass(frozen=True, slots=True)
class Oracle:
    """`wrong`: the share of keys that say another property of the same subject, the hardest mistake to see; and of
    sentences that have none, since they hold for several values at once, that get one. `missing`: the share that has
    none. `lacking`: only sentences that rules found no whole key of."""

    wrong: float = 0.0
    missing: float = 0.0
    lacking: bool = False


ORACLES: Mapping[str, Oracle] = {
    "true keys": Oracle(),
    "true keys, 10 % wrong": Oracle(wrong=0.10),
    "true keys, 25 % wrong": Oracle(wrong=0.25),
    "true keys, 50 % wrong": Oracle(wrong=0.50),
    "true keys, 10 % missing": Oracle(missing=0.10),
    "true keys, 25 % missing": Oracle(missing=0.25),
    "true keys, 25 % wrong, 25 % missing": Oracle(wrong=0.25, missing=0.25),
    "true keys where rules have none": Oracle(lacking=True),
}


def keys_of(world: World, oracle: Oracle, seed: int) -> dict[int, Key]:
    """By the sentence's number."""
    rng = random.Random(seed)
    names: dict[str, list[str]] = {}
    for subject, name in world.keys.values():
        names.setdefault(subject, []).append(name)
    several = set(world.standing)
    found = {}
    for i, (subject, name) in world.keys.items():
        wrong, missing = rng.random() < oracle.wrong, rng.random() < oracle.missing
        others = sorted(set(names[subject]) - {name})
        other = rng.choice(others or [name])
        if missing or (i in several and not wrong) or (oracle.lacking and read(world.sentences[i].text).fact):
            continue
        found[i] = _key(subject, other if wrong and i not in several else name)
    return found


def apply(client: Client, scope: str, keys: Mapping[UUID, Key]) -> None:
    with opened(client.engine, As(client.tenant)) as session:
        keyrows.lock(session)
        keyrows.keep(session, scope, keys, "oracle")


def _key(subject: str, name: str) -> Key:
    words = {w.lower() for w in tokens(subject)} - FUNCTION_WORDS
    stems = {stem(w.lower()) for w in tokens(name)}
    return Key(" ".join(sorted(words)), " ".join(sorted(stems)), name[:200])
