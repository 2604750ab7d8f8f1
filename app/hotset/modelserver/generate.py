"""One request for words on the simulated GPU: check, take a seat, wait for a turn, run, answer."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from hotset.fleet import Fleet, Model
from hotset.models.names import canonical
from hotset.modelserver import describe
from hotset.modelserver.bodies import Ask
from hotset.modelserver.clock import Clock, sleep_until
from hotset.modelserver.faults import Endless, misbehave
from hotset.modelserver.gpu import SimulatedGpu
from hotset.modelserver.log import TraceLog
from hotset.modelserver.lookup import Lookup
from hotset.modelserver.refusals import Refusal, terminated
from hotset.modelserver.residents import Resident
from hotset.modelserver.runs import Run, mean_run_s, plan
from hotset.modelserver.words import Vocabulary, Words

_CHUNK_S = 0.02  # wall seconds between two chunks of a stream, at least: some 50 a second


class Generator:
    """Carries `/api/generate` and `/api/chat` out. Has no state of its own that changes."""

    def __init__(
        self, fleet: Fleet, lookup: Lookup, gpu: SimulatedGpu, *, clock: Clock, log: TraceLog, seed: int
    ) -> None:
        self._fleet = fleet
        self._lookup = lookup
        self._gpu = gpu
        self._clock = clock
        self._log = log
        self._seed = seed
        self._vocabulary = Vocabulary(seed)

    async def lines(self, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        """What is said, a dict a line; without its last line if the model repeats itself."""
        came = time.perf_counter_ns()
        model = self._lookup.model(ask.model)
        if ask.empty and ask.keep_alive_s == 0:
            self._gpu.dismiss(model.name)
            yield _line(ask, done=True, done_reason="unload")
            return
        if ask.think and not describe.thinks(model.name):
            raise Refusal(400, f'"{ask.model}" does not support thinking')
        want = self._lookup.want(model, ask.options, ask.keep_alive_s)
        if ask.empty:
            async with self._gpu.seat(want):
                pass
            yield _line(ask, done=True, done_reason="load")
            return
        try:
            async with self._gpu.seat(want) as resident:
                loaded = time.perf_counter_ns()
                async with resident.turns:
                    run, words = self._plan(ask, model, resident)
                    begun = time.perf_counter_ns()
                    with self._log.run(self._lookup.job(ask.options), model.name):
                        async with aclosing(self._pace(run, resident, want.fault)) as ranges:
                            async for start, end in ranges:
                                thinking, text = words.between(start, end)
                                if thinking:
                                    yield _line(ask, thinking=thinking)
                                if text:
                                    yield _line(ask, text=text)
        except Endless:
            return
        # Out here the slot is free by the time that the client learns of the end.
        figures = _figures(run, came=came, loaded=loaded, begun=begun)
        yield _line(ask, done=True, done_reason=run.done_reason, figures=figures)

    def _plan(self, ask: Ask, model: Model, resident: Resident) -> tuple[Run, Words]:
        """The same prompt to the same model draws the same answer; option `seed` draws another."""
        key = f"{self._seed}\0{canonical(ask.model)}\0{ask.options.get('seed')}\0{ask.text}"
        rng = random.Random(hashlib.blake2b(key.encode(errors="replace"), digest_size=8).digest())
        run = plan(
            model,
            ask.text,
            ask.options,
            mean_s=mean_run_s(self._fleet, model.name),
            context=resident.context,
            speed=self._gpu.gpu.speed,
            cpu_share=resident.cpu_share,
            rng=rng,
        )
        thinks = describe.thinks(model.name) and ask.think is not False
        offset = rng.getrandbits(30)
        try:
            words = Words(self._vocabulary, tokens=run.output_tokens, thinks=thinks, shape=ask.shape, offset=offset)
        except ValueError as error:
            raise Refusal(500, f"invalid format: {error}") from error
        return run, words

    async def _pace(self, run: Run, resident: Resident, fault: str | None) -> AsyncGenerator[tuple[int, int], None]:
        """Ranges of tokens as they are ready: the first alone, then as many as came in 20 ms."""
        begun = time.monotonic()
        reading, writing = self._clock.wall(run.prompt_eval_s), self._clock.wall(run.eval_s)
        each = writing / run.output_tokens
        sent = 0
        due = reading + each
        while True:
            if fault is not None:
                await misbehave(fault, sent, resident)
            if resident.dead:
                raise terminated("exit status 2")
            if sent == run.output_tokens:
                return
            await sleep_until(begun + due)
            ready = run.output_tokens
            if due < reading + writing:
                ready = min(ready, max(sent + 1, int((due - reading) / each + 1e-6)))
            elif fault is not None and sent == 0:
                ready = 1
            yield sent, ready
            sent = ready
            due = min(reading + writing, max(due + _CHUNK_S, reading + each * (sent + 1)))


def join(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The lines of a stream as the one object of an answer without streaming."""
    whole = dict(lines[-1])
    if "message" in whole:
        said = [line["message"] for line in lines]
        whole["message"] = {"role": "assistant", "content": "".join(part["content"] for part in said)}
        thought, holder = "".join(part.get("thinking", "") for part in said), whole["message"]
    else:
        whole["response"] = "".join(line["response"] for line in lines)
        thought, holder = "".join(line.get("thinking", "") for line in lines), whole
    if thought:
        holder["thinking"] = thought
    return whole


def _line(
    ask: Ask,
    *,
    text: str = "",
    thinking: str = "",
    done: bool = False,
    done_reason: str | None = None,
    figures: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One object, as `/api/chat` or `/api/generate` writes it; figures that are zero are left out."""
    thought = {"thinking": thinking} if thinking else {}
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": text, **thought}} if ask.chat else {"response": text, **thought}
    )
    line = {"model": ask.model, "created_at": describe.now(), **said, "done": done}
    if done_reason:
        line["done_reason"] = done_reason
    return line | {name: value for name, value in (figures or {}).items() if value}


def _figures(run: Run, *, came: int, loaded: int, begun: int) -> dict[str, int]:
    """Nanoseconds of wall time, and tokens."""
    now = time.perf_counter_ns()
    planned = run.prompt_eval_s + run.eval_s
    reading = int((now - begun) * run.prompt_eval_s / planned) if planned else 0
    return {
        "total_duration": now - came,
        "load_duration": loaded - came,
        "prompt_eval_count": run.prompt_tokens,
        "prompt_eval_duration": reading,
        "eval_count": run.output_tokens,
        "eval_duration": now - begun - reading,
    }
