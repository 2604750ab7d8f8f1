"""From a claimed job to a request for the model server."""

from __future__ import annotations

from hotset.agents import generation_options
from hotset.errors import UnknownModel
from hotset.jobs import Attempt
from hotset.models import Prompt
from hotset_worker.run_job.tools import Tools


def prepare(tools: Tools, attempt: Attempt) -> Prompt:
    """The agent's system prompt and parameters. Raises UnknownAgent or UnknownModel: this fleet cannot run the job."""
    agent = tools.registry.get(attempt.agent)
    queue = tools.fleet.queues.get(attempt.queue)
    if queue is None:
        raise UnknownModel(
            f"The fleet has no queue {attempt.queue!r}, in which job {attempt.id} waits.", remedy="Add it to the fleet."
        )
    model = tools.fleet.models[queue.model]
    return Prompt(
        model=model.name,
        prompt=attempt.prompt,
        system=agent.system,
        options=generation_options(agent, model, queue.tier, attempt.options),
    )
