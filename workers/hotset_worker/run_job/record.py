"""Commit what a run came to, then wake whoever waits. After this the message may be acknowledged."""

from __future__ import annotations

import logging

from hotset.jobs import Outcome
from hotset_worker.run_job.tools import Tools
from hotset_worker.runs import ActiveRun

log = logging.getLogger(__name__)


def record(tools: Tools, run: ActiveRun, outcome: Outcome) -> Outcome | None:
    """State, result and audit in one statement; None when another attempt has the job.

    An error of the store is let through: the message is not acknowledged, the lease ends, the job runs again.
    """
    attempt = run.attempt
    if not tools.store.finish(attempt.id, attempt.number, outcome, worker=tools.worker):
        log.warning("Job %s attempt %d had lost its lease; its result is dropped.", attempt.id, attempt.number)
        return None
    if outcome.state.terminal:
        tools.replies.ended(attempt.reply_to, attempt.id, outcome.state)
    return outcome
