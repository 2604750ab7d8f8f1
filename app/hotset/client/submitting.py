"""What everybody does with a client: submit one job, a flow, or many, and be told of them from the beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload
from uuid import UUID

from hotset.agents.intake import Intake
from hotset.agents.own import OwnAgent
from hotset.client import flows, following
from hotset.client.admission import Admission, admitted
from hotset.client.flows import FlowRun
from hotset.client.job import Job, Jobs
from hotset.client.steps import Box, Each, Plan, run
from hotset.client.streaming import StreamEvent
from hotset.errors import (
    BrokerUnavailable,
    HotsetError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidJob,
    RateLimited,
    UsageError,
)
from hotset.jobs import NewJob, Priority, Routing, State
from hotset.jobs.flows import Flow
from hotset.store import Accepted
from hotset.store.waiting import Glance

if TYPE_CHECKING:
    from hotset.broker import Lanes
    from hotset.client.context import Context
    from hotset.client.listener import Listener
    from hotset.client.marks import Marks
    from hotset.settings import Settings
    from hotset.store import JobStore

log = logging.getLogger(__name__)


class Asked(TypedDict, total=False):
    """What may be asked of a job beside its agent and its prompt: see `Client.submit`."""

    priority: str | int | Priority
    deadline: str | float | None
    queue_timeout: str | float | None
    run_timeout: str | float | None
    not_before: str | float | datetime | None
    max_retries: int | None
    options: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None
    send_to: str | None
    recall: int
    recall_from: Sequence[str]


class Submitting:
    """The part of a client that gets jobs accepted."""

    name: str
    settings: Settings
    _actor: str
    _admission: Admission
    _intake: Intake
    _lanes: Lanes
    _listener: Listener
    _marks: Marks
    _store: JobStore

    if TYPE_CHECKING:

        def _here(self) -> Any: ...
        def context(self, agent: str | OwnAgent[Any]) -> Context: ...
        def _recalled(
            self, agent: Any, prompt: Any, k: int, scopes: Sequence[str], idempotency_key: str | None
        ) -> str: ...

    @overload
    def submit(
        self, agent: Flow, *, stream: bool = False, wait: bool | float = False, **asked: Unpack[Asked]
    ) -> FlowRun: ...

    @overload
    def submit(
        self,
        agent: str | OwnAgent[Any],
        prompt: Any = None,
        *,
        stream: bool = False,
        wait: bool | float = False,
        **asked: Unpack[Asked],
    ) -> Job: ...

    def submit(
        self,
        agent: str | OwnAgent[Any] | Flow,
        prompt: Any = None,
        *,
        priority: str | int | Priority = Priority.NORMAL,
        deadline: str | float | None = None,
        queue_timeout: str | float | None = None,
        run_timeout: str | float | None = None,
        not_before: str | float | datetime | None = None,
        max_retries: int | None = None,
        options: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        send_to: str | None = None,
        stream: bool = False,
        recall: int = 0,
        recall_from: Sequence[str] = (),
        wait: bool | float = False,
    ) -> Job | FlowRun:
        """Submit one job, or a flow; returns when it is accepted (its rows are committed).

        `agent` is a name, or an agent of your own (see `hotset.agent`); then `prompt` is its function's argument. Of a
        flow (see `hotset.chain`), all of it is accepted or none; what is given here holds for the steps that do not
        say it themselves, and the `idempotency_key` is that of the flow.

        Durations are model seconds or texts such as `"15m"`, counted from now. `deadline`: when the run should start;
        it orders work and drops nothing (default: the queue's). `queue_timeout` expires a job that has not started,
        `run_timeout` stops a run. `options`: temperature, top_p, max_tokens, repeat_penalty, seed, stop. The same
        `idempotency_key` gives the same job. `stream`: its tokens are sent as they come, for `job.stream()`.
        `recall`: put so many relevant memories before the prompt, see `recall`; from the scopes `recall_from`.
        `send_to`: the agent whose inbox gets the answer, or how else it ended, by the commit that ends the job (of a
        flow: give it to its steps).

        `wait`: what is over a limit waits here until it is admitted, for ever or so many wall seconds, instead of
        being refused.

        Raises UnknownAgent, InvalidJob, IdempotencyConflict (same key, another body), RateLimited, StoreUnavailable.
        """
        if recall:
            prompt = self._recalled(agent, prompt, recall, recall_from, idempotency_key)
        asked: dict[str, Any] = {
            "priority": priority,
            "deadline": deadline,
            "queue_timeout": queue_timeout,
            "run_timeout": run_timeout,
            "not_before": not_before,
            "max_retries": max_retries,
            "options": options,
            "metadata": metadata,
            "stream": stream,
        }
        once = partial(self._submit, agent, prompt, asked, idempotency_key, send_to)
        return once() if wait is False else run(admitted(once, wait))

    def _submit(
        self, agent: Any, prompt: Any, asked: Mapping[str, Any], idempotency_key: str | None, send_to: str | None
    ) -> Job | FlowRun:
        if isinstance(agent, Flow):
            if send_to is not None:
                raise InvalidJob(
                    "A flow has several answers.", remedy="Give send_to to the steps whose answers are to be sent."
                )
            return flows.submit(self._here(), agent, prompt, idempotency_key=idempotency_key, defaults=asked)
        here = self._here()
        job = self._intake.new_job(
            *self._made(agent, prompt),
            **asked,
            idempotency_key=idempotency_key,
            send_to=send_to,
            scale=self.settings.scale,
            reply_to=self.name,
        )
        return Job(here, self._accept([job])[0].id)

    def stream(
        self, agent: str | OwnAgent[Any], prompt: Any, *, timeout: float | None = None, **asked: Unpack[Asked]
    ) -> Each[StreamEvent]:
        """Submit one job and follow it: `for event in client.stream(...)`. The job is accepted with the first event.

        `asked`: as for `submit`. See `StreamEvent` for what comes. Raises what `submit` raises, and ResultTimeout
        after `timeout` wall seconds; the job goes on.
        """
        return Each(
            following.submit_and_follow(self._here(), partial(self._submit_heard, agent, prompt, asked), timeout)
        )

    def submit_many(self, jobs: Iterable[tuple[str, str] | Mapping[str, Any]], *, wait: bool | float = False) -> Jobs:
        """Submit many: (agent, prompt) pairs, or mappings with the names of `submit`'s arguments.

        One transaction per chunk of `submit_chunk` rows (10,000). A bad row raises InvalidBatch, which names it: its
        chunk submits nothing, and `.accepted` holds the ids of the chunks before. With limits a chunk is no larger
        than can be admitted at once, and is admitted as a whole; `wait` (for ever, or so many wall seconds a chunk)
        waits for that instead of raising RateLimited.
        """
        return run(self._many(jobs, wait))

    def _many(self, jobs: Iterable[tuple[str, str] | Mapping[str, Any]], wait: bool | float) -> Plan[Any, Jobs]:
        here = self._here()
        accepted = Jobs(here)
        rows = iter(jobs)
        first = 0
        size = self._admission.together(self.settings.submit_chunk)
        while chunk := list(islice(rows, size)):
            checked = [self._check(row, first + i, accepted) for i, row in enumerate(chunk)]
            try:
                done = yield from admitted(partial(self._accept, checked), wait)
            except IdempotencyConflict as e:
                raise InvalidBatch(first, str(e), [j.id for j in accepted]) from e
            except RateLimited as e:
                if e.retry_after_s is None and len(chunk) > 1:
                    # Its tokens alone are too many for a minute: in smaller chunks they may not be.
                    size = len(chunk) // 2
                    rows = chain(chunk, rows)
                    continue
                raise _told(e, accepted) from None
            except HotsetError as e:
                raise _told(e, accepted) from None
            accepted += [Job(here, each.id) for each in done]
            first += len(chunk)
        return accepted

    def _submit_heard(self, agent: str | OwnAgent[Any], prompt: Any, asked: Asked, box: Box) -> Glance | UUID:
        """Submit a job of which the box is told from the beginning; its id alone if it was accepted before."""
        self._here()
        given: dict[str, Any] = {**asked}
        recall, scopes = given.pop("recall", 0), given.pop("recall_from", ())
        if recall:
            prompt = self._recalled(agent, prompt, recall, scopes, given.get("idempotency_key"))
        asked_of = self._made(agent, prompt)
        job = self._intake.new_job(*asked_of, **given, scale=self.settings.scale, reply_to=self.name, stream=True)
        self._listener.watch([job.id], box, look=False)
        accepted = self._accept([job])[0]
        routing = accepted.routing
        if accepted.id != job.id or routing is None:
            return accepted.id
        return Glance(
            id=job.id,
            state=State.QUEUED,
            attempt=0,
            queue=job.queue,
            priority=job.priority,
            suspect=False,
            arrived_at=routing.arrived_at,
            started_at=None,
            reply_to=self.name,
            stream=True,
        )

    def _check(self, row: tuple[str, str] | Mapping[str, Any], number: int, accepted: Iterable[Job]) -> NewJob:
        try:
            asked = dict(row) if isinstance(row, Mapping) else dict(zip(("agent", "prompt"), row, strict=True))
            if isinstance(asked.get("agent"), OwnAgent):
                asked["agent"], asked["prompt"] = self._made(asked["agent"], asked.get("prompt"))
            return self._intake.new_job(**asked, scale=self.settings.scale, reply_to=self.name)
        except (UsageError, TypeError, ValueError) as e:
            raise InvalidBatch(number, str(e), [j.id for j in accepted]) from e

    def _made(self, agent: Any, prompt: Any) -> tuple[Any, Any]:
        """Agent and prompt for the intake: a function that wants a context has been called with one."""
        if isinstance(agent, OwnAgent) and agent.wants_context:
            return agent.made(self.context, prompt), None
        return agent, prompt

    def _accept(self, jobs: list[NewJob]) -> list[Accepted]:
        with self._admission.of(jobs) as room:
            done = self._store.accept(jobs, actor=self._actor, room=room)
        self._publish([a.routing for a in done if a.routing is not None])
        return done

    def _publish(self, waiting: list[Routing]) -> None:
        try:
            self._lanes.publish(waiting)
            self._marks.add([r.id for r in waiting])
        except BrokerUnavailable as e:
            # Accepted all the same: the relay publishes what is not marked.
            log.warning("The jobs are accepted, and will be published when the broker is back: %s", e)


def _told(error: HotsetError, accepted: Jobs) -> HotsetError:
    """The error of a chunk, which says what was accepted before it."""
    if accepted:
        error.remedy = f"{error.remedy} {len(accepted)} jobs of earlier chunks were accepted."
    return error
