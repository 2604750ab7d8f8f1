"""From a message to a job's id. A message of a plain Celery producer becomes a row here, at first sight."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from hotset.errors import HotsetError
from hotset_worker.run_job.tools import Tools

log = logging.getLogger(__name__)

_PLAIN = frozenset({"agent", "prompt", "priority", "deadline", "queue_timeout", "run_timeout", "metadata", "tenant"})


def receive(tools: Tools, task_id: str, queue: str, kwargs: Mapping[str, Any], *, chord: bool) -> UUID | None:
    """The job of that message, or None when it was refused (and the refusal audited)."""
    try:
        job_id = UUID(task_id)
    except ValueError:
        _refuse(tools, None, f"the message id {task_id[:64]!r} is not a UUID")
        return None
    if chord:
        _refuse(tools, job_id, "native Celery chords are not supported: hotset keeps no Celery results")
        return None
    if not kwargs:
        return job_id
    if unknown := sorted(set(kwargs) - _PLAIN):
        _refuse(tools, job_id, f"unknown arguments {unknown}; there are {sorted(_PLAIN)}")
        return None
    try:
        job = tools.intake.new_job(**kwargs, job_id=job_id, scale=tools.scale)
        tools.store.accept([job], actor="celery")
        # It is here already: marked, so that the relay does not publish it a second time.
        tools.store.mark_published([job_id])
    except HotsetError as e:
        if e.retryable:
            raise
        _refuse(tools, job_id, str(e))
        return None
    except TypeError as e:
        _refuse(tools, job_id, str(e))
        return None
    return job_id


def _refuse(tools: Tools, job_id: UUID | None, reason: str) -> None:
    log.error("A message was refused: %s", reason)
    tools.store.note(tenant="default", actor=tools.worker, action="refused", job_id=job_id, detail={"reason": reason})
