"""One request for words on the simulated GPU: check, take a seat, wait for a turn, run, answer."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from hotset.models.names import canonical
from hotset.modelserver import describe, tools
from hotset.modelserver.bodies import Ask
from hotset.modelserver.clock import Clock, sleep_until
from hotset.modelserver.faults import IN_A_RUN, Endless, Switches, misbehave
from hotset.modelserver.gpu import SimulatedGpu
from hotset.modelserver.log import TraceLog
from hotset.modelserver.lookup import Lookup
from hotset.modelserver.profiles import Profile
from hotset.modelserver.refusals import Refusal, broke_off
from hotset.modelserver.residents import Resident
from hotset.modelserver.runs import Run, plan
from hotset.modelserver.stops import Stops
from hotset.modelserver.words import Vocabulary, Words

_CHUNK_S = 0.02  # wall seconds between two chunks of a stream, at least: some 50 a second
_CHUNK = 2048  # tokens of a chunk, at most: what a client that does not read makes us hold


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run will say, unless it is broken off. `call`: the tool that it calls instead of answering."""

    run: Run
    words: Words
    call: Mapping[str, Any] | None


class Generator:
    """Carries `/api/generate` and `/api/chat` out. Has no state of its own that changes."""

    def __init__(
        self, lookup: Lookup, gpu: SimulatedGpu, *, clock: Clock, log: TraceLog, seed: int, faults: Switches
    ) -> None:
        self._lookup = lookup
        self._gpu = gpu
        self._clock = clock
        self._log = log
        self._seed = seed
        self._faults = faults
        self._vocabulary = Vocabulary(seed)

    async def lines(self, ask: Ask) -> AsyncGenerator[dict[str, Any], None]:
        """What is said, a dict a line; without its last line if the model repeats itself."""
        came = time.perf_counter_ns()
        profile = self._lookup.profile(ask.model)
        if ask.empty and ask.keep_alive_s == 0:
            self._gpu.dismiss(profile.name)
            yield _line(ask, done=True, done_reason="unload")
            return
        _check(ask, profile)
        want = self._lookup.want(profile, ask.options, ask.keep_alive_s)
        if ask.empty:
            async with self._gpu.seat(want):
                pass
            yield _line(ask, done=True, done_reason="load")
            return
        stops, said, ended = Stops(ask.options.get("stop") or ()), 0, False
        try:
            async with self._gpu.seat(want) as resident:
                loaded = time.perf_counter_ns()
                async with resident.turns:
                    planned = self._plan(ask, profile, resident)
                    fault = want.fault if want.fault in IN_A_RUN else self._faults.draw(IN_A_RUN, profile.name)
                    begun = time.perf_counter_ns()
                    with self._log.run(self._lookup.job(ask.options), profile.name):
                        async with aclosing(self._pace(planned.run, resident, fault)) as ranges:
                            async for start, said in ranges:
                                thinking, text = planned.words.between(start, said)
                                text, ended = ("", False) if planned.call else stops.feed(text)
                                if thinking:
                                    yield _line(ask, thinking=thinking)
                                if text:
                                    yield _line(ask, text=text)
                                if ended:
                                    break
                        if planned.call:
                            yield _line(ask, call=planned.call)
                        elif rest := stops.rest():
                            yield _line(ask, text=rest)
        except Endless:
            yield _line(ask, text=stops.rest())
            return
        # Out here the slot is free by the time that the client learns of the end.
        reason = "stop" if ended else planned.run.done_reason
        figures = _figures(planned.run, said, came=came, loaded=loaded, begun=begun)
        yield _line(ask, done=True, done_reason=reason, figures=figures)

    def _plan(self, ask: Ask, profile: Profile, resident: Resident) -> Plan:
        """The same prompt to the same model draws the same answer; option `seed` draws another."""
        key = f"{self._seed}\0{canonical(ask.model)}\0{ask.options.get('seed')}\0{ask.text}"
        rng = random.Random(hashlib.blake2b(key.encode(), digest_size=8).digest())
        run = plan(
            profile,
            ask.text,
            ask.options,
            context=resident.context,
            speed=self._gpu.gpu.speed,
            cpu_share=resident.cpu_share,
            rng=rng,
        )
        thinks = profile.can("thinking") and ask.think is not False
        offset = rng.getrandbits(30)
        try:
            call = tools.call(ask.tools, rng) if ask.tools else None
            words = Words(self._vocabulary, tokens=run.output_tokens, thinks=thinks, shape=ask.shape, offset=offset)
        except (ValueError, RecursionError) as error:
            raise Refusal(500, f"invalid format: {error}") from error
        return Plan(run, words, call)

    async def _pace(self, run: Run, resident: Resident, fault: str | None) -> AsyncGenerator[tuple[int, int], None]:
        """Ranges of tokens as they are ready: the first alone, then as many as came in 20 ms."""
        begun = time.monotonic()
        reading, writing = self._clock.wall(run.prompt_eval_s), self._clock.wall(run.eval_s)
        each = writing / run.output_tokens
        sent = 0
        due = reading + each
        while True:
            if fault is not None:
                await misbehave(fault, sent, resident, self._gpu)
            if resident.dead:
                raise broke_off(resident.dead)
            if sent == run.output_tokens:
                return
            await sleep_until(begun + due)
            ready = run.output_tokens
            if due < reading + writing:
                ready = min(ready, max(sent + 1, int((due - reading) / each + 1e-6)))
            elif fault is not None and sent == 0:
                ready = 1
            ready = min(ready, sent + _CHUNK)
            yield sent, ready
            sent = ready
            await asyncio.sleep(0)  # at scale 0 nothing else lets others in, or the client's leaving be noticed
            due = min(reading + writing, max(due + _CHUNK_S, reading + each * (sent + 1)))


def join(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The lines of a stream as the one object of an answer without streaming."""
    whole = dict(lines[-1])
    if "message" in whole:
        said = [line["message"] for line in lines]
        whole["message"] = {"role": "assistant", "content": "".join(part["content"] for part in said)}
        thought, holder = "".join(part.get("thinking", "") for part in said), whole["message"]
        calls = [call for part in said for call in part.get("tool_calls", ())]
        if calls:
            holder["tool_calls"] = calls
    else:
        whole["response"] = "".join(line["response"] for line in lines)
        thought, holder = "".join(line.get("thinking", "") for line in lines), whole
    if thought:
        holder["thinking"] = thought
    return whole


def _check(ask: Ask, profile: Profile) -> None:
    """Refuse what this model cannot do, as Ollama does and in its order."""
    if ask.raw_conflict:
        raise Refusal(400, "raw mode does not support template, system, or context")
    if ask.think and not profile.can("thinking"):
        raise Refusal(400, f'"{ask.model}" does not support thinking')
    if not profile.can("completion"):
        raise Refusal(400, f'"{ask.model}" does not support {"chat" if ask.chat else "generate"}')
    for capability in ask.needs:
        if not profile.can(capability):
            full = f"registry.ollama.ai/library/{describe.tagged(canonical(ask.model))}"
            raise Refusal(400, f"{full} does not support {capability}")


def _line(
    ask: Ask,
    *,
    text: str = "",
    thinking: str = "",
    call: Mapping[str, Any] | None = None,
    done: bool = False,
    done_reason: str | None = None,
    figures: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One object, as `/api/chat` or `/api/generate` writes it; figures that are zero are left out."""
    more: dict[str, Any] = {"thinking": thinking} if thinking else {}
    if call:
        more["tool_calls"] = [call]
    said: dict[str, Any] = (
        {"message": {"role": "assistant", "content": text, **more}} if ask.chat else {"response": text, **more}
    )
    line = {"model": ask.model, "created_at": describe.now(), **said, "done": done}
    if done_reason:
        line["done_reason"] = done_reason
    return line | {name: value for name, value in (figures or {}).items() if value}


def _figures(run: Run, said: int, *, came: int, loaded: int, begun: int) -> dict[str, int]:
    """Nanoseconds of wall time, and tokens: `said` of them, fewer than planned if a stop sequence came."""
    now = time.perf_counter_ns()
    planned = run.prompt_eval_s + run.eval_s * said / run.output_tokens
    reading = int((now - begun) * run.prompt_eval_s / planned) if planned else 0
    return {
        "total_duration": now - came,
        "load_duration": loaded - came,
        "prompt_eval_count": run.prompt_tokens,
        "prompt_eval_duration": reading,
        "eval_count": said,
        "eval_duration": now - begun - reading,
    }
