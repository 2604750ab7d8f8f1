"""The door for jobs: what a caller asked for becomes a checked NewJob, or an error that names what is wrong.

The client uses it at submit, the worker for messages of plain Celery producers: one set of rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from hotset.agents.agent import Agent
from hotset.agents.hints import near_or_all
from hotset.agents.own import OwnAgent, OwnPrompt
from hotset.agents.parameters import check_overrides
from hotset.agents.registry import Registry
from hotset.errors import InvalidCatalogue, InvalidJob
from hotset.fleet import Fleet
from hotset.jobs import NewJob, Priority, parse_duration, parse_priority

#: Bytes of JSON that a job's metadata may have.
LONGEST_METADATA = 16_384
LONGEST_KEY = 500
LONGEST_TENANT = 200
LONGEST_NAME = 200


class Intake:
    """Checks against the registry, the fleet and the limits. Frozen after construction; thread-safe."""

    def __init__(self, registry: Registry, fleet: Fleet, *, tenant: str, max_prompt_chars: int) -> None:
        self.registry = registry
        self.fleet = fleet
        self._tenant = _text(tenant, "tenant", LONGEST_TENANT)
        self._max_prompt_chars = max_prompt_chars
        self._queue_of = {q.tier: q for q in fleet.queues.values()}

    def new_job(
        self,
        agent: str | OwnAgent[Any],
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
        tenant: str | None = None,
        scale: float = 1.0,
        job_id: UUID | None = None,
        reply_to: str | None = None,
        stream: bool = False,
    ) -> NewJob:
        """A checked job. Durations are model seconds or texts such as `"15m"`; `not_before` may be a time of day.

        `agent` is a name, or an own agent (then `prompt` is its function's argument), or what its function made.
        Raises UnknownAgent, InvalidJob, or InvalidCatalogue for an own agent that does not fit.
        """
        known, text, spec = self._asked(agent, prompt)
        queue = self._queue_of[known.tier]
        return NewJob(
            id=job_id or uuid7(),
            agent=known.name,
            queue=queue.name,
            prompt=self.prompt(text),
            tenant=self._tenant if tenant is None else _text(tenant, "tenant", LONGEST_TENANT),
            priority=parse_priority(priority),
            deadline_s=queue.deadline_s if deadline is None else parse_duration(deadline, "deadline"),
            queue_timeout_s=None if queue_timeout is None else parse_duration(queue_timeout, "queue_timeout"),
            run_timeout_s=None if run_timeout is None else parse_duration(run_timeout, "run_timeout"),
            not_before_s=_not_before(not_before, scale),
            max_retries=_retries(max_retries),
            options=check_overrides(options or {}),
            metadata=_metadata(metadata or {}),
            idempotency_key=self.key(idempotency_key),
            reply_to=reply_to,
            stream=stream,
            spec=spec,
            send_to=None if send_to is None else _text(send_to, "send_to", LONGEST_NAME),
        )

    def _asked(self, agent: object, prompt: object) -> tuple[Agent, object, Mapping[str, Any] | None]:
        if isinstance(agent, OwnAgent):
            agent = agent(prompt)
        elif isinstance(agent, OwnPrompt) and prompt is not None:
            raise InvalidJob(
                f"The prompt of agent {agent.declared.name!r} is given twice.",
                remedy="Submit what its function made, or the agent with its function's argument.",
            )
        if not isinstance(agent, OwnPrompt):
            return self.registry.get(_text(agent, "agent", 200)), prompt, None
        declared = agent.declared
        if declared.tier not in self._queue_of:
            raise InvalidCatalogue(
                f"Agent {declared.name!r}: no queue of the fleet serves tier {declared.tier!r}.",
                remedy=near_or_all(declared.tier, sorted(self._queue_of)),
            )
        if declared.name in self.registry and self.registry.get(declared.name) != declared:
            raise InvalidCatalogue(
                f"Agent {declared.name!r}: the catalogue or your agents' file has another agent of that name.",
                remedy="Rename yours.",
            )
        return declared, str(agent), {"agent": asdict(declared)}

    @staticmethod
    def key(idempotency_key: object) -> str | None:
        """An idempotency key, checked; of a job or of a flow."""
        return None if idempotency_key is None else _text(idempotency_key, "idempotency_key", LONGEST_KEY)

    def prompt(self, prompt: object) -> str:
        """The prompt, if it is one that may be stored and run; else InvalidJob."""
        if not isinstance(prompt, str):
            raise InvalidJob(f"The prompt is a {type(prompt).__name__}.", remedy="Give a text.")
        if not prompt.strip():
            raise InvalidJob("The prompt is empty.", remedy="Say what the agent shall do.")
        if len(prompt) > self._max_prompt_chars:
            raise InvalidJob(
                f"The prompt has {len(prompt):,} characters, over the limit of {self._max_prompt_chars:,}.",
                remedy="Shorten it, or raise HOTSET_MAX_PROMPT_CHARS.",
            )
        return _storable(prompt, "prompt")


def _text(value: object, what: str, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise InvalidJob(f"{what}={str(value)[:80]!r} is not a text of 1 to {longest} characters.")
    return _storable(value, what)


def _storable(text: str, what: str) -> str:
    """Postgres stores neither NUL nor lone surrogates; better said here than by a failed transaction."""
    if "\x00" in text:
        raise InvalidJob(f"The {what} holds a NUL character.", remedy="Remove it; is it a binary file?")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise InvalidJob(
            f"The {what} is not valid Unicode at character {e.start}.", remedy="Decode it first."
        ) from None
    return text


def _metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    if not metadata:
        return {}
    try:
        text = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise InvalidJob(f"The metadata is not JSON: {e}.", remedy="Give names with texts and numbers.") from None
    if len(text) > LONGEST_METADATA or "\\u0000" in text:
        raise InvalidJob(
            f"The metadata has {len(text):,} bytes or holds a NUL.",
            remedy=f"At most {LONGEST_METADATA:,} bytes of JSON.",
        )
    return dict(metadata)


def _not_before(value: str | float | datetime | None, scale: float) -> float | None:
    """Model seconds from now; None for a time that has passed."""
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidJob("not_before has no time zone.", remedy="Use datetime.now(timezone.utc) + …, say.")
        seconds = (value - datetime.now(UTC)).total_seconds() / scale
        return seconds if seconds > 0 else None
    return parse_duration(value, "not_before")


def _retries(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100):
        raise InvalidJob(f"max_retries={value!r} is not a number from 0 to 100.")
    return value
