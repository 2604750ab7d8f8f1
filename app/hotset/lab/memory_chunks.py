"""`hotset bench memory --part chunks`: long texts, cut after as many sentences as fit or where the meaning changes.

The sentences of a world make reports: a paragraph for each that is spoken of, some paragraphs to a report. A question
is answered when the parts that are found hold all sentences that it needs; and the fewer words they have, the more
room they leave in a prompt.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from hotset.client import Client
from hotset.lab.memory_world import World
from hotset.memory.chunks import Chunking
from hotset.memory.words import names
from hotset.settings import Settings

_K = 5
_PARAGRAPHS = 10
_SLICES = ("direct", "paraphrase")


def chunkings(settings: Settings, worlds: Sequence[World]) -> dict[str, dict[str, float]]:
    arms = {}
    for chunking in get_args(Chunking):
        chosen = replace(settings, memory_chunking=chunking)
        with Client(settings=chosen, tenant=f"bench-{chunking}") as client:
            arms[f"chunks {chunking}"] = _measure(client, worlds)
    return arms


def _measure(client: Client, worlds: Sequence[World]) -> dict[str, float]:
    hits: list[bool] = []
    words: list[int] = []
    for number, world in enumerate(worlds):
        memory = client.memory(f"project:w{number}")
        for report in _reports(world, number):
            memory.remember(report)
        for question in world.questions:
            if question.slice in _SLICES and not question.stale:
                found = [m.text for m in memory.search(question.text, _K, threshold=0.0)]
                hits.append(all(any(world.sentences[i].text in part for part in found) for i in question.wanted))
                words.append(sum(len(part.split()) for part in found))
    parts = sum(row["memories"] for row in client.memory_stats()["memories"])
    return {"recall_at_5": sum(hits) / len(hits), "n": float(len(hits)), "words_found": sum(words) / len(words),
            "parts": float(parts)}  # fmt: skip


def _reports(world: World, seed: int) -> list[str]:
    paragraphs: dict[str, list[str]] = defaultdict(list)
    for sentence in world.sentences:
        paragraphs[" ".join(sorted(names(sentence.text)))].append(sentence.text)
    order = list(paragraphs.values())
    random.Random(seed).shuffle(order)
    return [
        " ".join(" ".join(paragraph) for paragraph in order[i : i + _PARAGRAPHS])
        for i in range(0, len(order), _PARAGRAPHS)
    ]
