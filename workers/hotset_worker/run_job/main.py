"""The steps of a run in their order, on one screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotset.jobs import Attempt, Outcome, State
from hotset_worker.gpu import Inferred
from hotset_worker.run_job.infer import infer
from hotset_worker.run_job.prepare import prepare
from hotset_worker.run_job.receive import receive
from hotset_worker.run_job.record import record
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: its id is the job's; `claim` is the broker's hold on it; `kwargs` only of plain producers."""

    task_id: str
    claim: str
    queue: str
    kwargs: Mapping[str, Any]
    chord: bool = False


def run_job(tools: Tools, delivery: Delivery) -> Outcome | None:
    """Run the job of a message; what it came to, or None when it was not ours to run (any more)."""
    try:
        job_id = receive(tools, delivery.task_id, delivery.queue, delivery.kwargs, chord=delivery.chord)
        attempt = None if job_id is None else tools.store.claim(job_id, worker=tools.worker, lease_s=tools.lease_s)
        if attempt is None:
            # Cancelled or expired while it waited, or published twice: both are normal.
            log.debug("Message %s has nothing to run.", delivery.task_id)
            return None
        with tools.runs.active(attempt, delivery.claim) as run:
            return _attempt(tools, run)
    finally:
        # Whatever happened, the owner must not wait for a stream that never opens.
        tools.tell_owner(Inferred(delivery.claim, delivery.queue, None))


def _attempt(tools: Tools, run: ActiveRun) -> Outcome | None:
    attempt = run.attempt
    tools.replies.started(attempt.reply_to, attempt.id, attempt.number, restarted=attempt.number > 1)
    began = time.monotonic()
    outcome = infer(tools, run, lambda: prepare(tools, attempt))
    run_s = (time.monotonic() - began) / tools.scale
    tools.tell_owner(
        Inferred(run.claim, attempt.queue, run_s if outcome and outcome.state is State.SUCCEEDED else None)
    )
    if outcome is None:
        _hand_back(tools, attempt, run)
        return None
    return record(tools, run, outcome)


def _hand_back(tools: Tools, attempt: Attempt, run: ActiveRun) -> None:
    """The attempt ended by no fault of the job: the lease is lost, or the worker stops."""
    if run.ended == "handed back":
        tools.store.release(attempt.id, attempt.number, worker=tools.worker, reason=run.reason)
    else:
        log.warning("Job %s attempt %d lost its lease; its work is dropped.", attempt.id, attempt.number)
        tools.store.note(
            tenant=attempt.tenant,
            actor=tools.worker,
            action="dropped",
            job_id=attempt.id,
            detail={"attempt": attempt.number, "reason": "the lease was lost"},
        )
