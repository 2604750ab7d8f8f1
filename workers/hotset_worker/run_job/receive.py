"""From a message to a job's id. A message of a plain Celery producer becomes a row here, at first sight."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from hotset.errors import BrokerUnavailable, InvalidJob, Unavailable, UsageError
from hotset.jobs import JOB_OPTIONS, NewJob, Routing, State
from hotset.jobs.flows import check_places, fill, places
from hotset.store import Accepted
from hotset_worker.run_job.delivery import Delivery
from hotset_worker.run_job.tools import Tools

log = logging.getLogger(__name__)

#: What a plain producer may give, by name; the first two also by place.
_BY_PLACE = ("agent", "prompt")
ARGUMENTS = (*_BY_PLACE, *JOB_OPTIONS, "tenant")
#: Celery's ids are UUIDs unless a producer chose otherwise; a job's always is.
_NOT_UUIDS = UUID("6f1b7e52-9a0d-5a5e-8b0f-1d6f0c2f7a11")
_LONGEST_ID = 255
#: An error may quote what it was given.
_LONGEST_REASON = 1000


def job_of(task_id: str) -> UUID:
    """The job's id for that of a Celery task: the same, or one made from it when it is no UUID."""
    try:
        return UUID(task_id)
    except ValueError:
        return uuid5(_NOT_UUIDS, task_id)


def receive(tools: Tools, delivery: Delivery) -> UUID:
    """The job of that message. One that waits in another queue than it was taken from is published there.

    Raises InvalidJob, IdempotencyConflict or UnknownAgent when the message is refused, which is audited.
    """
    job_id = job_of(delivery.task_id)
    try:
        if delivery.chord:
            raise InvalidJob(
                "hotset runs no native Celery chord: it keeps no Celery results to join.",
                remedy="Use hotset.chord([...], body) with hotset.Client().submit.",
            )
        if delivery.plain:
            _accept(tools, delivery, job_id)
    except UsageError as e:
        log.error("Message %s was refused: %s", delivery.task_id[:_LONGEST_ID], e)
        detail = {"reason": str(e)[:_LONGEST_REASON], "task_id": delivery.task_id[:_LONGEST_ID]}
        tools.store.note(tenant="default", actor=tools.worker, action="refused", job_id=job_id, detail=detail)
        raise
    except Unavailable:
        raise
    except Exception as e:
        # Nobody foresaw this message: it is refused and audited like the others, and costs no more than itself.
        log.exception("Message %s was refused.", delivery.task_id[:_LONGEST_ID])
        detail = {
            "reason": f"it could not be understood: {type(e).__name__}",
            "task_id": delivery.task_id[:_LONGEST_ID],
        }
        tools.store.note(tenant="default", actor=tools.worker, action="refused", job_id=job_id, detail=detail)
        raise InvalidJob(f"The message could not be understood ({type(e).__name__}).") from e
    return job_id


def _accept(tools: Tools, delivery: Delivery, job_id: UUID) -> None:
    asked = _arguments(delivery)
    if delivery.not_before is not None:
        asked.setdefault("not_before", delivery.not_before)
    job = tools.intake.new_job(**asked, job_id=job_id, scale=tools.scale)
    if delivery.links:
        job = replace(job, spec={"celery": dict(delivery.links)})
    accepted = tools.store.accept([job], actor="celery")[0]
    if job.queue != delivery.queue:
        _reroute(tools, delivery, job, accepted)
    elif accepted.routing is not None:
        # It is here already: marked, so that the relay does not publish it a second time.
        tools.store.mark_published([job_id])


def _reroute(tools: Tools, delivery: Delivery, job: NewJob, accepted: Accepted) -> None:
    """The message lay in a queue whose model is not the agent's: run from here it would be a swap nobody decided."""
    waiting = accepted.routing or _routing(tools, job.id)
    if waiting is None:
        return
    if accepted.routing is not None:
        detail = {"from": delivery.queue, "to": job.queue, "agent": job.agent}
        tools.store.note(tenant=job.tenant, actor=tools.worker, action="rerouted", job_id=job.id, detail=detail)
    try:
        tools.lanes.publish([waiting])
        tools.store.mark_published([job.id])
    except BrokerUnavailable as e:
        log.warning("Job %s is accepted; the relay publishes it in its queue: %s", job.id, e)


def _routing(tools: Tools, job_id: UUID) -> Routing | None:
    """Of a job that was accepted from an earlier delivery; None unless it is queued."""
    view = tools.store.get([job_id]).get(job_id)
    if view is None or view.state is not State.QUEUED:
        return None
    return Routing(
        view.id, view.agent, view.queue, view.tenant, view.priority, view.arrived_at, view.deadline_at, view.suspect
    )


def _arguments(delivery: Delivery) -> dict[str, Any]:
    """By name. In a Celery chain the first argument is the answer of the task before: it goes to `{prev}`."""
    if not isinstance(delivery.kwargs, Mapping) or not isinstance(delivery.args, list | tuple):
        raise InvalidJob("The message's arguments are not a list and a mapping.", remedy="Use Celery's send_task.")
    asked = {str(name): value for name, value in delivery.kwargs.items()}
    if unknown := sorted(set(asked) - set(ARGUMENTS)):
        raise InvalidJob(f"hotset.run has no argument {unknown[0]!r}.", remedy=f"There are {', '.join(ARGUMENTS)}.")
    args = list(delivery.args)
    missing = [name for name in _BY_PLACE if name not in asked]
    before = args.pop(0) if len(args) == len(missing) + 1 else None
    if len(args) > len(missing):
        raise InvalidJob(
            f"hotset.run got {len(delivery.args)} arguments by place.",
            remedy="By place come agent and prompt; give the others by name.",
        )
    asked |= dict(zip(missing, args, strict=False))
    if lacking := [name for name in _BY_PLACE if name not in asked]:
        raise InvalidJob(
            f"hotset.run was called without {' and '.join(lacking)}.",
            remedy='app.send_task("hotset.run", kwargs={"agent": …, "prompt": …}, queue=…)',
        )
    if before is not None:
        asked["prompt"] = _after(before, asked["prompt"])
    return asked


def _after(before: object, prompt: object) -> str:
    if not isinstance(before, str) or not isinstance(prompt, str) or not places(prompt):
        raise InvalidJob(
            "hotset.run got one argument more than it takes: the result of the task before it in a Celery chain?",
            remedy="Write {prev} where that text belongs in the prompt, or use an immutable signature (.si).",
        )
    check_places(prompt, 1)
    return fill(prompt, [("", before)])
