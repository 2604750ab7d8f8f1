"""What summaries do to the answers of a world: whether one of them pushes out what is wanted.

No model is asked, so that a figure is the same again: each summary is the notes of its prompt, cut to so many words.
That is the hardest case for ranking: a summary that has the very words of what it covers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from uuid import UUID

from hotset.client import Client
from hotset.client.memory import Scope
from hotset.jobs import Outcome, State
from hotset.lab.memory_world import World
from hotset.memory.summaries import AGENT
from hotset.store import JobStore

#: About what the summariser may answer.
_WORDS = 130
#: A memory, and whether it is a summary.
Found = tuple[UUID, bool]
_LINE = re.compile(r"^- [^,]*, [^:]*: ", re.MULTILINE)


def summarise(client: Client) -> int:
    """Ask for everything that is due and answer it, until nothing is; how many summaries."""
    store, done = JobStore(client.engine, scale=client.settings.scale, cipher=client._cipher), 0
    while client.summarise():
        with client.engine.connect() as connection:
            query = "SELECT id FROM jobs WHERE agent = %s AND state = 'queued'"
            ids = list(connection.exec_driver_sql(query, (AGENT,)).scalars())
        for job in ids:
            attempt = store.claim(job, worker="bench", lease_s=600)
            if attempt is not None:
                outcome = Outcome(State.SUCCEEDED, text=_told(attempt.prompt), model="none", simulated=True)
                done += store.finish(job, attempt.number, outcome, worker="bench") is not None
    return done


def _told(prompt: str) -> str:
    """Of each note its words, as evenly as the length allows."""
    notes = [_LINE.sub("", line).split() for line in prompt.splitlines() if line.startswith("- ")]
    each = max(4, _WORDS // max(1, len(notes)))
    return " ".join(" ".join(words[:each]) for words in notes)


def measure_summaries(
    client: Client, worlds: Sequence[World], k: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Each world in a scope of its own: its questions before and after its days are summarised."""
    wanted: list[list[UUID]] = []
    before: list[list[Found]] = []
    after: list[list[Found]] = []
    made = 0
    for i, world in enumerate(worlds):
        progress(f"summaries of world {i + 1} of {len(worlds)}")
        memory = client.memory(f"project:s{i}")
        ids = [memory.remember(s.text, said_by=s.said_by, at=s.at) for s in world.sentences]
        before += answers(memory, world, k)
        made += summarise(client)
        after += answers(memory, world, k)
        wanted += [[ids[w] for w in q.wanted] for q in world.questions]
    return {"summaries": float(made), **compare(wanted, before, after)}


def answers(memory: Scope, world: World, k: int) -> list[list[Found]]:
    return [[(m.id, m.ring == "summary") for m in memory.search(q.text, k, as_of=q.as_of)] for q in world.questions]


def compare(
    questions: Sequence[Sequence[UUID]], before: Sequence[Sequence[Found]], after: Sequence[Sequence[Found]]
) -> dict[str, float]:
    """`questions`: what is wanted of each. Shares of them: a wanted sentence that was found and is not any more; the
    first answer is another; a summary is among the answers; where there is no answer, one is given that was not before.
    """
    rows = list(zip(questions, before, after, strict=True))
    answered = [row for row in rows if row[0]]
    silent = [(b, a) for wanted, b, a in rows if not wanted]
    lost = [any((w, False) in b and (w, False) not in a for w in wanted) for wanted, b, a in answered]
    return {
        "n": float(len(answered)),
        "wanted_lost": _share(lost),
        "first_changed": _share([list(b[:1]) != list(a[:1]) for _, b, a in answered if b]),
        "with_summary": _share([any(made for _, made in a) for _, _, a in answered]),
        "answered_though_unknown": _share([bool(a) and not b for b, a in silent]),
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
