"""The request to the model server: streamed, within its time limits, broken off when somebody says so."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from hotset.errors import GenerationFailed, HotsetError, RunTimeout
from hotset.jobs import Attempt, Outcome, State, next_attempt_in
from hotset.models import Chunk, Prompt, canonical
from hotset_worker.health import Silent
from hotset_worker.run_job.tokens import TokenSender
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun
from hotset_worker.watchdog import GRACE_S

log = logging.getLogger(__name__)


def infer(tools: Tools, run: ActiveRun, prepare: Callable[[], Prompt]) -> Outcome | None:
    """What the attempt came to; None when it is not for us to say (lease lost, handed back)."""
    model = ""
    began: float | None = None
    try:
        prompt = prepare()
        model = prompt.model
        run.model = canonical(model)
        began = time.monotonic()
        with _TimeLimit(tools, run):
            return _stream(tools, run, prompt)
    except Exception as e:
        # Breaking off closes the stream under the reader, which then sees any kind of error: the reason comes first.
        match run.ended:
            case "lost" | "handed back":
                return None
            case "cancelled":
                return Outcome(State.CANCELLED, model=model, error_kind="JobCancelled", error=run.reason)
            case "timeout":
                _note_silence(tools, run)
                return _failed(tools, run.attempt, model, RunTimeout(run.reason))
        error = _meaning(run, e)
        if began is not None and time.monotonic() - began >= tools.first_token_timeout_s:
            _note_silence(tools, run)
        return _failed(tools, run.attempt, model, error)


def _stream(tools: Tools, run: ActiveRun, prompt: Prompt) -> Outcome:
    text: list[str] = []
    thinking: list[str] = []
    last: Chunk | None = None
    first_at: float | None = None
    began = time.monotonic()
    sender = TokenSender(tools.replies, run.attempt)
    generation = tools.server.generate(
        prompt,
        first_token_timeout_s=tools.first_token_timeout_s,
        stall_timeout_s=tools.stall_timeout_s,
    )
    try:
        run.attach(generation)
        run.waits(tools.first_token_timeout_s + GRACE_S)
        for chunk in generation:
            if first_at is None and (chunk.text or chunk.thinking):
                first_at = time.monotonic()
            if chunk.text or chunk.thinking or chunk.done:
                run.spoke(tools.stall_timeout_s + GRACE_S)
            text.append(chunk.text)
            thinking.append(chunk.thinking)
            sender.add(chunk)
            last = chunk
        sender.flush()
    finally:
        run.waits_until = float("inf")
        generation.close()
    if run.ended is not None or last is None or not last.done:
        raise GenerationFailed("The model's answer broke off.")
    usage = last.usage
    ended = time.monotonic()
    timings: dict[str, Any] = {
        "first_token_s": None if first_at is None else (first_at - began) / tools.scale,
        "generate_s": (ended - began) / tools.scale,
    }
    counts: dict[str, Any] = {"done_reason": last.done_reason}
    if usage is not None:
        counts |= {"prompt_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
        timings |= {"load_ms": usage.load_ms, "prompt_eval_ms": usage.prompt_eval_ms, "eval_ms": usage.eval_ms}
    return Outcome(
        State.SUCCEEDED,
        text="".join(text),
        thinking="".join(thinking),
        model=prompt.model,
        simulated=tools.simulated,
        usage=counts,
        timings=timings,
    )


class _TimeLimit:
    """Ends the run when its run_timeout (model seconds) is over."""

    def __init__(self, tools: Tools, run: ActiveRun) -> None:
        limit = run.attempt.run_timeout_s
        reason = f"It ran longer than its run_timeout of {limit} s."
        self._timer = None if limit is None else threading.Timer(limit * tools.scale, run.end, args=("timeout", reason))

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _meaning(run: ActiveRun, error: Exception) -> HotsetError:
    if run.ended == "hung":
        return GenerationFailed(f"{run.model} hung: {run.reason}.", remedy="`hotset doctor` probes each model.")
    if isinstance(error, HotsetError):
        return error
    log.error("Job %s failed in an unforeseen way.", run.attempt.id, exc_info=error)
    return HotsetError(f"{type(error).__name__}: {error}")


def _note_silence(tools: Tools, run: ActiveRun) -> None:
    """Its time was over before the first token: the owner asks whether the model generates at all."""
    if run.spoke_at is None and run.model:
        tools.tell_owner(Silent(run.model))


def _failed(tools: Tools, attempt: Attempt, model: str, error: HotsetError) -> Outcome:
    policy = tools.retry
    if attempt.max_retries is not None:
        policy = type(policy)(attempt.max_retries, policy.backoff_s, policy.max_backoff_s)
    again = next_attempt_in(policy, retryable=error.retryable, failures=attempt.failures, jitter=random.random())
    state = State.FAILED if again is None else State.SCHEDULED
    return Outcome(state, model=model, error_kind=error.kind, error=str(error), retry_in_s=again)
