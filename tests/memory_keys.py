"""What tests of models' keys share: somebody who answers the jobs by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hotset import Client
from hotset.jobs import Attempt, Outcome, State
from hotset.memory.extraction import AGENT
from hotset.store import JobStore
from memory_summaries import MARK, claimed_of

#: (number, statement) -> a line of an answer.
Line = Callable[[int, str], str]
_STATEMENT = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)


def claimed(client: Client) -> list[Attempt]:
    """All jobs for keys that wait, now running here."""
    return claimed_of(client, AGENT)


def statements(attempt: Attempt) -> dict[int, str]:
    return {int(number): text for number, text in _STATEMENT.findall(attempt.prompt)}


def berth(number: int, text: str) -> str:
    """Every statement is of the berth of its first word."""
    return f"{number} | {text.split()[0]} | berth"


def finish(client: Client, attempts: Sequence[Attempt], line: Line | None = berth) -> int:
    """They answer so, or fail (None), and say MARK in both; how many were still to be had."""
    store, done = JobStore(client.engine), 0
    for attempt in attempts:
        outcome = Outcome(State.FAILED, error_kind="Refused", error=MARK)
        if line is not None:
            text = "\n".join([*(line(n, s) for n, s in statements(attempt).items()), f"So much of {MARK}."])
            outcome = Outcome(State.SUCCEEDED, text=text, model="tinyllama")
        done += store.finish(attempt.id, attempt.number, outcome, worker="by hand") is not None
    return done
