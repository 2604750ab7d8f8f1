"""`/api/embed` on the simulated GPU: reading the inputs takes what the evaluation of a prompt takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from hotset.modelserver import vectors
from hotset.modelserver.bodies import EmbedAsk
from hotset.modelserver.clock import Clock, sleep_until
from hotset.modelserver.gpu import SimulatedGpu
from hotset.modelserver.log import TraceLog
from hotset.modelserver.lookup import Lookup
from hotset.modelserver.refusals import Refusal, not_found_to_embed
from hotset.modelserver.runs import CHARACTERS_PER_TOKEN, slowness, tokens_in


class Embedder:
    def __init__(self, lookup: Lookup, gpu: SimulatedGpu, *, clock: Clock, log: TraceLog, seed: int) -> None:
        self._lookup = lookup
        self._gpu = gpu
        self._clock = clock
        self._log = log
        self._seed = seed

    async def lines(self, ask: EmbedAsk) -> AsyncGenerator[dict[str, Any], None]:
        """The answer, as the one line that there is."""
        came = time.perf_counter_ns()
        profile = self._lookup.find(ask.model)
        if profile is None:
            raise not_found_to_embed(ask.model)
        want = self._lookup.want(profile, ask.options, ask.keep_alive_s)
        async with self._gpu.seat(want) as resident:
            loaded = time.perf_counter_ns()
            texts = [_fit(text, want.context, truncate=ask.truncate) for text in ask.inputs]
            tokens = sum(tokens_in(text) for text in texts)
            async with resident.turns:
                if texts:
                    with self._log.run(self._lookup.job(ask.options), profile.name):
                        seconds = profile.reading_s(tokens) * slowness(self._gpu.gpu.speed, resident.cpu_share)
                        await sleep_until(time.monotonic() + self._clock.wall(seconds))
                embeddings = []
                for text in texts:
                    embeddings.append(vectors.embed(text, self._seed, ask.dimensions or vectors.DIMENSIONS))
                    await asyncio.sleep(0)  # others want to be served too
        figures = {
            "total_duration": time.perf_counter_ns() - came,
            "load_duration": loaded - came,
            "prompt_eval_count": tokens,
        }
        yield {
            "model": ask.model,
            "embeddings": embeddings,
            **{name: value for name, value in figures.items() if value},
        }


def _fit(text: str, context: int, *, truncate: bool) -> str:
    if tokens_in(text) <= context:
        return text
    if not truncate:
        raise Refusal(400, "the input length exceeds the context length")
    return text[: CHARACTERS_PER_TOKEN * context]
