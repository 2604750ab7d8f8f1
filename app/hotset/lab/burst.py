"""A thousand agents of a user's own that submit at the same moment, and again with each answer, some short jobs each.

Everybody gets everything in the end, or it is lost. Fairness is looked at when the first agent of a tier has all of its
answers: how many have the others of that tier by then?
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from hotset.agents.own import OwnAgent, agent
from hotset.errors import UsageError
from hotset.lab import crowd
from hotset.lab.crowd import Member, Tally
from hotset.lab.figures import Run
from hotset.lab.stage import Stage

_SCALE = 0.02
_AGENTS = 1000
#: Of the catalogue: 36, 59, 36 of 131.
_MIX = ("light", "balanced", "complex", "balanced", "light", "balanced", "complex")
#: Runs are a tenth of what their queue says: 0.2, 0.8 and 2.5 model seconds.
_SHORT = 0.1
_SEED = 7


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    agents: int = _AGENTS,
    scale: float = _SCALE,
) -> Iterator[Run]:
    """`jobs`: of each agent."""
    if scale <= 0:
        raise UsageError(f"At a scale of {scale:g} no time passes.", remedy="Give wall seconds per model second.")
    for number in range(1, runs + 1):
        figures = asyncio.run(_run(stage, agents, jobs, scale, progress))
        progress(
            f"run {number} of {runs}: {figures['completions']:.0f} of {agents * jobs} answers, "
            f"Jain {figures['jain']:.3f}, rejected {figures['rejected']:.0f}, lost {figures['lost']:.0f}"
        )
        yield {"hotset": figures}


async def _run(stage: Stage, agents: int, jobs: int, scale: float, progress: Callable[[str], None]) -> dict[str, float]:
    async with crowd.open_scene(stage, scale=scale) as scene:
        run_s = {tier: _SHORT * scene.fleet.queue_of_tier(tier).run_s for tier in dict.fromkeys(_MIX)}
        members = [
            Member(_own(number, tier), tier, run_s[tier], random.Random(f"{_SEED} {number}"))
            for number, tier in enumerate(islice(cycle(_MIX), agents))
        ]
        tally = Tally()
        done: dict[str, list[int]] = {}

        def answered(member: Member) -> None:
            member.done += 1
            if member.done == jobs and member.tier not in done:
                done[member.tier] = [m.done for m in members if m.tier == member.tier]

        lives = [
            crowd.loop(scene, member, tally, goes_on=lambda m: m.done < jobs, think=lambda _: 0.0, answered=answered)
            for member in members
        ]
        await crowd.live_on(scene, lives, tally, progress)
        return await crowd.figures(scene, tally, done)


def _own(number: int, tier: str) -> OwnAgent[Any]:
    @agent(f"crowd-{number:04d}", tier=tier, role="One of many, who all want something at once.")
    def prompt(text: str) -> str:
        return text

    return prompt
