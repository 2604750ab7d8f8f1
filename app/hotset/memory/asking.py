"""What the memory has the light tier do: ordinary jobs of one agent, of low priority, for a row that waits.

The row and its job are one transaction, and so are what the answer becomes and the end of the row's waiting: what a
crash interrupts was never there, and is done by the next round. What the job was told and answered is erased with it:
texts of memories stay in the memory alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row

from hotset.agents.agent import Agent
from hotset.agents.intake import Intake
from hotset.agents.own import OwnPrompt
from hotset.agents.parameters import TIERS, TierParameters
from hotset.errors import InvalidCatalogue
from hotset.jobs import JobView, NewJob, Priority, State
from hotset.memory.periods import pieces
from hotset.memory.session import As, Session
from hotset.store import JobStore

log = logging.getLogger(__name__)

TIER = "light"
#: Of a model's context; the rest is for what its server puts around a prompt.
_SHARE = 0.8
#: Tokens of a prompt beside what it is about.
_AROUND = 40
#: Nobody waits for it: everybody else's jobs go first. Model seconds.
_DEADLINE_S = 86_400.0
#: Jobs of a tenant in one round; a first round may find years.
MOST_A_ROUND = 20
MOST_ANSWERS = 200
#: Jobs in a row that may fail, each with retries of its own.
MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Asker:
    """`ours`: the agent; `intake` knows the fleet and its agents, and one of that name in the agents' file is used in
    its place. `mark`: under which a job's metadata has the id of the row that waits for it."""

    store: JobStore
    intake: Intake
    ours: Agent
    mark: str

    @property
    def engine(self) -> Engine:
        return self.store.engine

    @property
    def agent(self) -> Agent:
        known = self.intake.registry
        return known.get(self.ours.name) if self.ours.name in known else self.ours

    def served(self) -> bool:
        """Whether the fleet has a queue for it."""
        fleet = self.intake.fleet
        return self.ours.name in self.intake.registry or any(q.tier == TIER for q in fleet.queues.values())

    def check_served(self) -> None:
        """Raises InvalidCatalogue if the fleet cannot run it."""
        if not self.served():
            raise InvalidCatalogue(
                f"Agent {self.ours.name!r}: no queue of the fleet serves tier {TIER!r}.",
                remedy="Add one, or put an agent of that name and another tier into your agents' file.",
            )

    def budget(self) -> int:
        """Tokens of what a prompt is about that it may hold."""
        agent, fleet = self.agent, self.intake.fleet
        context = fleet.models[fleet.queue_of_tier(agent.tier).model].context
        answer = agent.max_tokens or TIERS.get(agent.tier, TierParameters()).max_tokens
        return max(1, int(_SHARE * context) - answer - pieces(agent.system) - _AROUND)

    def job(self, who: As, row: UUID, prompt: str) -> NewJob:
        known = self.ours.name in self.intake.registry
        return self.intake.new_job(
            self.ours.name if known else OwnPrompt(prompt, self.ours),
            prompt if known else None,
            priority=Priority.LOW,
            deadline=_DEADLINE_S,
            metadata={self.mark: str(row)},
            tenant=who.tenant,
            scale=self.store.scale,
        )

    def accept(self, session: Session, job: NewJob) -> None:
        """As ourselves: the memory's role knows nothing of jobs. Published by the relay of any worker."""
        with session.as_login():
            self.store.accept_within(session.connection, [job], actor=session.who.actor)

    def ended(self, rows: Sequence[Row[Any]], who: As) -> Iterator[tuple[Row[Any], JobView | None, str]]:
        """Of rows with a `job` those whose jobs have ended, and what was answered; empty where there is no answer."""
        jobs = self.store.get([row.job for row in rows], tenant=who.tenant) if rows else {}
        for row in rows:
            job = jobs.get(row.job)
            if job is not None and not job.state.terminal:
                continue
            if job is None or job.state is not State.SUCCEEDED:
                yield row, job, ""
            elif job.result is None:
                log.warning("The answer of job %s cannot be read here: %s", job.id, job.error)
            else:
                yield row, job, job.result.text.strip()

    def gives_up(self, tries: int, job: JobView | None) -> bool:
        """Whether what failed so often is not asked for again."""
        cancelled = job is not None and job.state is State.CANCELLED
        return tries >= MOST_TRIES or cancelled or not self.served()


def reason(job: JobView | None) -> str:
    """Why there is no answer; never what a model or a server said: that may be the text of a memory."""
    if job is None:
        return "its job is gone"
    if job.state is State.SUCCEEDED:
        return "an empty answer"
    return f"{job.state}: {job.error_kind}" if job.error_kind else str(job.state)


def erase_job(session: Session, job: UUID, why: str) -> None:
    """What a job was told and answered goes, and its run ends if there is one; before its row does."""
    session.rows("erase_job", {"job": job, "actor": session.who.actor, "reason": why})
