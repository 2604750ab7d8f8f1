"""Flows as their owners see them: submitted as a whole, read as a tree, cancelled and retried as a whole or in part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uuid_utils.compat import uuid7

from hotset.agents.own import OwnAgent, OwnPrompt
from hotset.client import waiting
from hotset.client.job import Job
from hotset.client.steps import Call, Plan, run
from hotset.errors import InvalidJob, UsageError
from hotset.jobs import JobResult, JobView, State
from hotset.jobs.flows import Flow, Planned, PromptOf, Shape, check_places, drawn, expand, flow_state, leaves, made_by
from hotset.store import flows as store
from hotset.store.flows import FlowView, NewFlow

if TYPE_CHECKING:
    from hotset.client.client import Client

#: The result of a step, or a list for a group: of steps, or of what stands in their place.
Results = JobResult | list[Any]


class FlowRun:
    """A flow that was accepted; cheap, holds no connection. Everything but `id` asks Postgres each time it is read."""

    def __init__(self, client: Client, flow_id: UUID) -> None:
        self._client = client
        self._id = flow_id

    @property
    def id(self) -> str:
        return str(self._id)

    @property
    def view(self) -> FlowView:
        """The flow with all its jobs now. Raises UnknownJob when the tenant has no such flow (any more)."""
        return store.read(self._client._here()._store, self._id, tenant=self._client.tenant)

    @property
    def status(self) -> State:
        """Running, waiting, or how it ended: succeeded when all steps have, else by the gravest cause."""
        return _status(self.view)

    @property
    def jobs(self) -> list[Job]:
        """The steps' jobs in order; of a step that was retried the newest."""
        return [Job(self._client, view.id) for _, view in sorted(self.view.current.items())]

    def job(self, step_path: str | int) -> Job:
        """The job of a step, by its path in the tree: `"2"`, or `"2.1"` for the first of the second part.

        Raises InvalidJob when the tree has no such step.
        """
        view = self.view
        number = dict(leaves(view.shape)).get(str(step_path))
        if number is None:
            raise InvalidJob(f"Flow {self._id} has no step {str(step_path)[:80]!r}.", remedy="`tree()` shows them.")
        return Job(self._client, view.current[number].id)

    def tree(self) -> str:
        """The flow as text: each step's path, agent, state, model seconds of wait and run, and job."""
        return tree_of(self.view)

    def as_dict(self) -> dict[str, Any]:
        """The flow as JSON: its shape, and of each step its path, job, state, times, and what it depends on."""
        return as_dict(self.view)

    def result(self, timeout: float | None = None) -> Results:
        """Wait for the last step's result; when the flow ends with a group, a list of those of its parts.

        At most `timeout` wall seconds: then ResultTimeout, and the flow goes on. Raises JobFailed when it has none.
        """
        return run(self.waiting(timeout))

    def waiting(self, timeout: float | None) -> Plan[Any, Results]:
        """`result` as a plan, for threads and tasks alike."""
        view = yield Call(lambda: self.view)
        current = view.current
        last = _last(view.shape)
        jobs = [Job(self._client, current[number].id) for _, number in leaves(last)]
        found = yield from waiting.results(self._client, jobs, timeout)
        return _shaped(last, iter(found))

    def cancel(self, reason: str = "cancelled by its owner") -> int:
        """Cancel all that has not ended, waiting or running; how many jobs."""
        client = self._client._here()
        _ = self.view.id  # UnknownJob
        ended = store.cancel(client._store, self._id, actor=client._actor, reason=reason)
        client._tell(ended)
        return len(ended)

    def retry(self, reason: str | None = None) -> list[Job]:
        """Run again what ended without success, and what failed for its sake; the results of the others are kept.

        Gives the new jobs, in order; each names the one that it replays. Raises IllegalTransition when nothing of the
        flow has failed.
        """
        return again(self._client, flow=self._id, reason=reason)

    def __repr__(self) -> str:
        return f"FlowRun({self._id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlowRun) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


def submit(
    client: Client, flow: Flow, prompt: object, *, idempotency_key: str | None, defaults: Mapping[str, Any]
) -> FlowRun:
    """Accept a flow. `defaults`: for what its steps do not say themselves. See `Client.submit`."""
    if prompt is not None:
        raise InvalidJob("A flow takes no prompt beside those of its steps.", remedy="client.submit(flow)")
    new = plan(client, flow, idempotency_key=idempotency_key, defaults=defaults)
    with client._admission.of(new.jobs) as room:
        flow_id, accepted = store.accept(client._store, new, actor=client._actor, room=room)
    client._publish([done.routing for done in accepted if done.routing is not None])
    return FlowRun(client, flow_id)


def plan(client: Client, flow: Flow, *, idempotency_key: str | None, defaults: Mapping[str, Any]) -> NewFlow:
    """The flow's jobs, checked. Raises UsageError, which names the step."""
    expanded = expand(flow)
    key = client._intake.key(idempotency_key)
    flow_id = uuid7()
    ids = [uuid7() for _ in expanded.steps]
    awaited = {number for planned in expanded.steps for number in planned.after}
    jobs = []
    for planned in expanded.steps:
        try:
            agent, prompt = _asked(client, planned)
            job = client._intake.new_job(
                agent,
                prompt,
                **{**defaults, **planned.step.options},
                scale=client.settings.scale,
                job_id=ids[planned.number],
                reply_to=client.name,
            )
        except UsageError as e:
            e.message = f"Step {planned.path}: {e.message}"
            raise
        jobs.append(
            replace(
                job,
                flow=flow_id,
                step=planned.number,
                depends_on=tuple(ids[number] for number in planned.after),
                has_dependents=planned.number in awaited,
            )
        )
    return NewFlow(flow_id, client.tenant, expanded.shape, key, tuple(jobs))


def again(client: Client, *, job: UUID | None = None, flow: UUID | None = None, reason: str | None = None) -> list[Job]:
    """New jobs for what has ended; of a job, the one that replays it comes first."""
    client._here()
    done = store.replay(
        client._store,
        tenant=client.tenant,
        actor=client._actor,
        job=job,
        flow=flow,
        reply_to=client.name,
        reason=reason,
    )
    client._publish(list(done.waiting))
    # In the order of the steps: the job that was asked for comes before what depends on it.
    return [Job(client, new) for new in done.jobs]


# ---- prompts ---------------------------------------------------------------------------------------------------------


def _asked(client: Client, planned: Planned) -> tuple[Any, Any]:
    """Agent and prompt of a step, for the intake: every function has been called."""
    agent, prompt, count = planned.step.agent, planned.step.prompt, len(planned.after)
    if isinstance(agent, OwnPrompt) and prompt is not None:
        return agent, prompt  # refused there
    if isinstance(agent, OwnAgent):
        text: str = _of_own(partial(agent.made, client.context), prompt, count)
    elif callable(prompt):
        text = _made(prompt, count)
    else:
        text = agent if isinstance(agent, OwnPrompt) else prompt
    if count and isinstance(text, str):
        check_places(text, count)
    if isinstance(agent, OwnAgent | OwnPrompt):
        return OwnPrompt(text, agent.declared), None
    return agent, text


def _of_own(made: Callable[..., str], prompt: Any, count: int) -> str:
    if callable(prompt):
        return _made(lambda prev: made(prompt(prev)), count)
    return _made(made, count) if prompt is None else made(prompt)


def _made(function: PromptOf, count: int) -> str:
    if not count:
        raise InvalidJob(
            "The prompt is a function of the answer before, and the step follows none.", remedy="Give a text."
        )
    return made_by(function, count)


# ---- shown -----------------------------------------------------------------------------------------------------------


def tree_of(view: FlowView) -> str:
    """See `FlowRun.tree`."""
    current = view.current
    width = max(len(job.agent) for job in current.values())

    def line(path: str, number: int) -> list[str]:
        newest, *earlier = view.all_of(number)
        return [
            f"{path} {newest.agent:<{width}}  {_told(newest)}  {newest.id}",
            *(f"  before: {_told(job)}  {job.id}" for job in earlier),
        ]

    return f"flow {view.id}  {_status(view)}\n{drawn(view.shape, line)}"


def as_dict(view: FlowView) -> dict[str, Any]:
    """See `FlowRun.as_dict`."""
    paths = {number: path for path, number in leaves(view.shape)}
    step_of = {job.id: job.step for job in view.jobs}
    steps = []
    for number, job in sorted(view.current.items()):
        steps.append(
            {
                "path": paths[number],
                "job": str(job.id),
                "agent": job.agent,
                "queue": job.queue,
                "state": str(job.state),
                "after": [paths[step] for on in view.after.get(job.id, ()) if (step := step_of[on]) is not None],
                "wait_s": job.wait_s,
                "run_s": job.run_s,
                "attempt": job.attempt,
                "error_kind": job.error_kind,
                "error": job.error,
                "earlier": [{"job": str(old.id), "state": str(old.state)} for old in view.all_of(number)[1:]],
            }
        )
    return {
        "id": str(view.id),
        "tenant": view.tenant,
        "created_at": view.created_at.isoformat(),
        "status": str(_status(view)),
        "shape": view.shape,
        "steps": steps,
    }


def _told(job: JobView) -> str:
    how = f" ({job.error_kind})" if job.error_kind else ""
    times = [f"waited {job.wait_s:.1f} s"] if job.wait_s is not None else []
    times += [f"ran {job.run_s:.1f} s"] if job.run_s is not None else []
    return f"{job.state}{how}" + ("  " + ", ".join(times) if times else "")


def _status(view: FlowView) -> State:
    return flow_state((job.state, job.error_kind) for job in view.current.values())


def _last(shape: Shape) -> Shape:
    """What a flow ends with: a step, or a group."""
    while isinstance(shape, dict) and "chain" in shape:
        shape = shape["chain"][-1]
    return {"group": [_last(part) for part in shape["group"]]} if isinstance(shape, dict) else shape


def _shaped(shape: Shape, results: Any) -> Results:
    if isinstance(shape, dict):
        parts: Sequence[Shape] = shape["group"]
        return [_shaped(part, results) for part in parts]
    found: JobResult = next(results)
    return found
