"""From a claimed job to a request for the model server."""

from __future__ import annotations

from hotset.agents import Agent, generation_options
from hotset.errors import GenerationFailed, InvalidJob, UnknownModel
from hotset.jobs import Attempt
from hotset.jobs.flows import fill, places
from hotset.models import Prompt
from hotset.store import flows
from hotset_worker.run_job.tools import Tools


def prepare(tools: Tools, attempt: Attempt) -> Prompt:
    """The agent's system prompt and parameters, and the answers that the prompt asks for.

    Raises UnknownAgent or UnknownModel: this fleet cannot run the job; InvalidJob: the answers make it too long;
    CannotDecrypt: this worker has not the key to what was asked, or to an answer.
    """
    if attempt.unreadable is not None:
        raise attempt.unreadable
    agent = _agent(tools, attempt)
    queue = tools.fleet.queues.get(attempt.queue)
    if queue is None:
        raise UnknownModel(
            f"The fleet has no queue {attempt.queue!r}, in which job {attempt.id} waits.", remedy="Add it to the fleet."
        )
    model = tools.fleet.models[queue.model]
    options = generation_options(agent, model, queue.tier, attempt.options)
    if tools.simulated:
        options = {**options, "hotset_job": str(attempt.id)}  # its name in the model server's trace
    return Prompt(model=model.name, prompt=_with_answers(tools, attempt), system=agent.system, options=options)


def _agent(tools: Tools, attempt: Attempt) -> Agent:
    """The job's own, as it was declared when the job was accepted, or the registry's."""
    if attempt.spec is not None and "agent" in attempt.spec:
        return Agent(**attempt.spec["agent"])
    return tools.registry.get(attempt.agent)


def _with_answers(tools: Tools, attempt: Attempt) -> str:
    """The prompt; of a step that follows others with their answers in it."""
    if attempt.flow is None or not places(attempt.prompt):
        return attempt.prompt
    found = flows.answers(tools.store, attempt.id)
    if not found:
        return attempt.prompt
    texts: list[tuple[str, str]] = []
    for job, agent, text in found:
        if text is None:
            raise GenerationFailed(
                f"The answer of job {job} ({agent}), which the prompt asks for, is not kept any more.",
                retryable=False,
                remedy="Submit the flow again.",
            )
        texts.append((agent, text))
    prompt = fill(attempt.prompt, texts)
    try:
        return tools.intake.prompt(prompt)
    except InvalidJob as e:
        e.message = f"With the answers before it in their places: {e.message}"
        raise
