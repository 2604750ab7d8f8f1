"""The 131 agents of the catalogue in a closed loop on one GPU: each submits, waits, thinks and submits again.

They go on for some wall minutes; what is answered after that is waited for, and counted only as not lost. `scale` makes
the minutes long in model time: at 0.02 ten of them are more than eight hours, in which each agent has some 40 answers.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from itertools import islice

from hotset.agents import load_registry
from hotset.agents.demo import demo_prompts
from hotset.errors import UsageError
from hotset.lab import crowd
from hotset.lab.crowd import Member, Tally
from hotset.lab.figures import Run
from hotset.lab.stage import Stage

_SCALE = 0.02
_MINUTES = 2.0
_THINK_S = 10.0
_SEED = 5


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    minutes: float = _MINUTES,
    scale: float = _SCALE,
) -> Iterator[Run]:
    """`jobs`: agents, at most the 131 of the catalogue; `minutes`: wall time."""
    if minutes <= 0 or scale <= 0:
        raise UsageError("A closed loop needs time.", remedy="Give minutes and a scale above 0.")
    for number in range(1, runs + 1):
        figures = asyncio.run(_run(stage, jobs, minutes * 60, scale, progress))
        progress(
            f"run {number} of {runs}: {figures['completions']:.0f} answers, {figures['completions_min']:.0f} at least,"
            f" Jain {figures['jain']:.3f}"
        )
        yield {"hotset": figures}


async def _run(
    stage: Stage, agents: int, lasts_s: float, scale: float, progress: Callable[[str], None]
) -> dict[str, float]:
    async with crowd.open_scene(stage, scale=scale) as scene:
        registry = load_registry(scene.fleet, None)
        queues = scene.fleet.queue_of_tier
        members = [
            Member(name, tier, queues(tier).run_s, random.Random(f"{_SEED} {name}"))
            for name, tier in ((name, registry.get(name).tier) for name, _ in islice(demo_prompts(1), agents))
        ]
        tally = Tally()
        end = time.monotonic() + lasts_s

        def answered(member: Member) -> None:
            member.done += time.monotonic() < end

        lives = [
            crowd.loop(
                scene,
                member,
                tally,
                goes_on=lambda _: time.monotonic() < end,
                think=lambda m: m.rng.expovariate(1 / (_THINK_S * scale)),
                answered=answered,
            )
            for member in members
        ]
        await crowd.live_on(scene, lives, tally, progress)
        tiers = dict.fromkeys(member.tier for member in members)
        done = {tier: [m.done for m in members if m.tier == tier] for tier in tiers}
        found = await crowd.figures(scene, tally, done)
        in_time = sum(m.done for m in members)
        return {**found, "throughput_per_h": in_time * 3600 * scale / lasts_s}
