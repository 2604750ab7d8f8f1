"""Commit what a run came to, then wake whoever waits. After this the message may be acknowledged."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from hotset.errors import StoreUnavailable, Unavailable
from hotset.jobs import Attempt, Outcome
from hotset.store import Finished, flows, upkeep
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun

log = logging.getLogger(__name__)

#: Wall seconds between two tries while Postgres is away.
_AGAIN_S = 0.5


def record(tools: Tools, run: ActiveRun, outcome: Outcome) -> Outcome | None:
    """State, result and audit in one statement; None when another attempt has the job.

    While Postgres is away the result is kept here and tried again, until the lease is known to be lost or the worker
    stops; then the error is let through: the lease ends, the job runs again.
    """
    attempt = run.attempt
    finished = _commit(tools, run, outcome)
    if finished is None:
        note_dropped(tools, attempt)
        return None
    if outcome.state.terminal:
        tools.replies.ended(attempt.reply_to, attempt.id, outcome.state)
        if finished.send_to is not None:
            tools.replies.mail(attempt.tenant, finished.send_to)
        if finished.has_dependents:
            _follow(tools, attempt.id)
    return outcome


def note_dropped(tools: Tools, attempt: Attempt) -> None:
    """Another attempt has the job, or it has ended: what this one came to is nothing, and the audit says so."""
    log.warning("Job %s attempt %d had lost its lease; its work is dropped.", attempt.id, attempt.number)
    tools.store.note(
        tenant=attempt.tenant,
        actor=tools.worker,
        action="dropped",
        job_id=attempt.id,
        detail={"attempt": attempt.number, "reason": "the lease was lost"},
    )


def _commit(tools: Tools, run: ActiveRun, outcome: Outcome) -> Finished | None:
    attempt = run.attempt
    tried = False
    while True:
        try:
            finished = tools.store.finish(attempt.id, attempt.number, outcome, worker=tools.worker)
            if finished is None and tried and _was_ours(tools, run, outcome):
                return Finished(has_dependents=True)
            return finished
        except StoreUnavailable as e:
            if run.ended in ("lost", "handed back"):
                raise
            if not tried:
                log.warning("Job %s is done and waits to be recorded: %s", attempt.id, e)
            tried = True
            time.sleep(_AGAIN_S)


def _was_ours(tools: Tools, run: ActiveRun, outcome: Outcome) -> bool:
    """Whether the commit whose reply was lost had been made."""
    view = tools.store.get([run.attempt.id]).get(run.attempt.id)
    return view is not None and view.attempt == run.attempt.number and view.state is outcome.state


def _follow(tools: Tools, job_id: UUID) -> None:
    """What the commit released goes to the broker now, and who waits for what it ended is told now. Both are in
    Postgres: if anything fails here, the upkeep does it."""
    try:
        waiting = flows.released(tools.store, job_id)
        tools.lanes.publish(waiting)
        tools.store.mark_published([job.id for job in waiting])
        for job in upkeep.take_untold(tools.store.engine):
            tools.replies.ended(job.reply_to, job.id, job.state)
    except Unavailable as e:
        log.warning("What waited for job %s is left to the upkeep: %s", job_id, e)
