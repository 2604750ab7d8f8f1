"""The steps of a run in their order, on one screen."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from uuid import UUID

from hotset.errors import StoreUnavailable
from hotset.jobs import Attempt, Outcome, State
from hotset_worker.events import Inferred
from hotset_worker.run_job.delivery import Delivery, Ended
from hotset_worker.run_job.infer import infer
from hotset_worker.run_job.prepare import prepare
from hotset_worker.run_job.receive import receive
from hotset_worker.run_job.record import note_dropped, record
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun

log = logging.getLogger(__name__)


def run_job(tools: Tools, delivery: Delivery) -> Ended | None:
    """Run the job of a message; what it came to, or None when it was not ours to run (any more).

    Raises a UsageError for a message that is refused.
    """
    try:
        job_id = receive(tools, delivery)
        attempt = _claim(tools, job_id, delivery)
        if attempt is None:
            # Cancelled or expired while it waited, published twice, or moved to its queue: all are normal.
            log.debug("Message %s has nothing to run.", delivery.task_id)
            return _ended_before(tools, job_id, delivery) if delivery.plain else None
        with tools.runs.active(attempt, delivery.claim) as run:
            outcome = _attempt(tools, run)
        return None if outcome is None else _ended(outcome, attempt)
    finally:
        # Whatever happened, the owner must not wait for a stream that never opens.
        tools.tell_owner(Inferred(delivery.claim, delivery.queue, None))


def _claim(tools: Tools, job_id: UUID, delivery: Delivery) -> Attempt | None:
    try:
        return tools.store.claim(
            job_id, worker=tools.worker, lease_s=tools.lease_s, queue=delivery.queue, alone=delivery.alone
        )
    except StoreUnavailable:
        # It may be ours all the same, committed before Postgres died: the heartbeat finds out, and hands it back.
        tools.runs.note_unclear(job_id)
        raise


def _attempt(tools: Tools, run: ActiveRun) -> Outcome | None:
    attempt = run.attempt
    tools.replies.started(attempt.reply_to, attempt.id, attempt.number, restarted=attempt.number > 1)
    began = time.monotonic()
    outcome = infer(tools, run, lambda: prepare(tools, attempt))
    if outcome is not None and outcome.model:
        # Before the owner hears that the run is over: it may evict the model.
        outcome = replace(outcome, model_digest=tools.digest(outcome.model))
    run_s = (time.monotonic() - began) / tools.scale
    done = outcome is not None and outcome.state is State.SUCCEEDED
    tokens = int(outcome.usage.get("output_tokens") or 0) if outcome is not None else 0
    tools.tell_owner(Inferred(run.claim, attempt.queue, run_s if done else None, attempt.agent, tokens))
    if outcome is None:
        _hand_back(tools, attempt, run)
        return None
    return record(tools, run, outcome)


def _ended(outcome: Outcome, attempt: Attempt) -> Ended:
    return Ended(
        outcome.state,
        outcome.text,
        outcome.usage.get("output_tokens", 0),
        outcome.error_kind,
        outcome.error,
        outcome.retry_in_s,
        (attempt.spec or {}).get("celery", {}),
    )


def _ended_before(tools: Tools, job_id: UUID, delivery: Delivery) -> Ended | None:
    """A plain message that came again after its job had ended: the stored result, so that Celery's links go on."""
    view = tools.store.get([job_id]).get(job_id)
    if view is None or not view.state.terminal:
        return None
    text, usage = (view.result.text, view.result.usage) if view.result is not None else ("", {})
    # An answer that cannot be decrypted here is no answer that links could go on with.
    state = State.FAILED if view.state is State.SUCCEEDED and view.result is None else view.state
    return Ended(state, text, usage.get("output_tokens", 0), view.error_kind, view.error, links=delivery.links)


def _hand_back(tools: Tools, attempt: Attempt, run: ActiveRun) -> None:
    """The attempt ended by no fault of the job: the lease is lost, or the worker stops."""
    if run.ended == "handed back":
        tools.store.release(attempt.id, attempt.number, worker=tools.worker, reason=run.reason)
    else:
        note_dropped(tools, attempt)
