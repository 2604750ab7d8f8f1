"""The packaged prompts: three rounds of one for each agent of the catalogue, for demos and benchmarks."""

from __future__ import annotations

import json
from importlib import resources

from hotset.agents.registry import CATALOGUE_TIERS, catalogue
from hotset.errors import InvalidCatalogue, UsageError

ROUNDS = 3


def demo_prompts(rounds: int) -> list[tuple[str, str]]:
    """(agent, prompt) for 1 to 3 rounds of all 131 agents: round by round, tiers mixed evenly within each.

    The same order every time. Raises UsageError for another number of rounds.
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= ROUNDS:
        raise UsageError(f"There are no {rounds!r} rounds of prompts.", remedy=f"Give a number from 1 to {ROUNDS}.")
    order: list[tuple[int, float, str, str]] = []
    for tier in CATALOGUE_TIERS:
        rows = _read(tier)
        for wanted in range(1, rounds + 1):
            of_round = [(agent, prompt) for number, agent, prompt in rows if number == wanted]
            order += [(wanted, (i + 0.5) / len(of_round), agent, prompt) for i, (agent, prompt) in enumerate(of_round)]
    return [(agent, prompt) for _, _, agent, prompt in sorted(order, key=lambda row: row[:2])]


def _read(tier: str) -> list[tuple[int, str, str]]:
    known = {agent.name for agent in catalogue() if agent.tier == tier}
    file = resources.files("hotset.agents") / "prompts" / f"{tier}.jsonl"
    rows = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        row = json.loads(line)
        if row["agent"] not in known:
            raise InvalidCatalogue(f"{tier}.jsonl, line {number}: there is no agent {row['agent']!r} of that tier.")
        rows.append((int(row["round"]), str(row["agent"]), str(row["prompt"])))
    return rows
