"""Commit what a run came to, then wake whoever waits. After this the message may be acknowledged."""

from __future__ import annotations

import logging
from uuid import UUID

from hotset.errors import Unavailable
from hotset.jobs import Outcome
from hotset.store import flows, upkeep
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun

log = logging.getLogger(__name__)


def record(tools: Tools, run: ActiveRun, outcome: Outcome) -> Outcome | None:
    """State, result and audit in one statement; None when another attempt has the job.

    An error of the store is let through: the message is not acknowledged, the lease ends, the job runs again.
    """
    attempt = run.attempt
    finished = tools.store.finish(attempt.id, attempt.number, outcome, worker=tools.worker)
    if finished is None:
        log.warning("Job %s attempt %d had lost its lease; its result is dropped.", attempt.id, attempt.number)
        return None
    if outcome.state.terminal:
        tools.replies.ended(attempt.reply_to, attempt.id, outcome.state)
        if finished.send_to is not None:
            tools.replies.mail(attempt.tenant, finished.send_to)
        if finished.has_dependents:
            _follow(tools, attempt.id)
    return outcome


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
