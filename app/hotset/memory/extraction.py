"""Keys of statements by the light tier: asked for by ordinary jobs (see `asking`), believed as far as `keys` says, kept
as `keyrows` does.

A scope has one job at a time, of up to twenty statements: each is told the keys of those before, so that a property
keeps its words.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row
from uuid_utils.compat import uuid7

from hotset.agents.agent import Agent
from hotset.agents.intake import Intake
from hotset.errors import SegmentDamaged
from hotset.jobs import JobView
from hotset.memory import keyrows
from hotset.memory.asking import MOST_A_ROUND, MOST_ANSWERS, TIER, Asker, erase_job, reason
from hotset.memory.keys import ANSWER_TOKENS, MOST, MOST_KNOWN, SYSTEM, InUse, Key, lines, parse, prompt
from hotset.memory.session import As, Session, opened
from hotset.memory.tiers import Hot, read_texts
from hotset.memory.words import tokens
from hotset.store import JobStore

log = logging.getLogger(__name__)

AGENT = "memory-keyer"
_KEYER = Agent(
    name=AGENT,
    tier=TIER,
    domain="memory",
    role="say whom statements are about and which property they tell",
    task_type="analysis",
    system=SYSTEM,
    max_tokens=ANSWER_TOKENS,
    temperature=0.0,
)
#: So long a few statements wait for more of them: a job costs the same for one as for twenty. Wall seconds.
GATHER_S = 600.0


@dataclass(frozen=True, slots=True)
class Keyer:
    """What it takes to ask and to keep."""

    store: JobStore
    intake: Intake

    @property
    def asker(self) -> Asker:
        return Asker(self.store, self.intake, _KEYER, "memory_keys")

    @property
    def engine(self) -> Engine:
        return self.store.engine


def ask(tools: Keyer, who: As, *, gather_s: float = 0.0) -> int:
    """Submit a job for each scope with twenty statements that no model was asked about, or with one that was there so
    long; how many. Raises InvalidCatalogue if the fleet cannot run it."""
    tools.asker.check_served()
    with opened(tools.engine, who) as session:
        found = session.rows("keys_look", {"tenant": who.tenant, "wait_s": gather_s})
    asked = 0
    for row in found:
        if asked >= MOST_A_ROUND:
            break
        if row.statements >= MOST or row.waited:
            try:
                asked += _ask_for(tools, who, row.scope)
            except SegmentDamaged as e:
                log.error("Keys of %s are not asked for: %s", row.scope, e)
    return asked


def collect(tools: Keyer, who: As) -> int:
    """Keep what jobs have answered, ask again for what failed; how many answers were read."""
    with opened(tools.engine, who) as session:
        rows = session.rows("keys_waiting", {"tenant": who.tenant, "limit": MOST_ANSWERS})
    read = 0
    for row, job, text in tools.asker.ended(rows, who):
        try:
            if job is not None and text:
                read += _keep(tools, who, row, job, text)
            else:
                _again(tools, who, row, job)
        except SegmentDamaged as e:
            log.error("Keys of %s are not kept: %s", row.scope, e)
    return read


def undo(engine: Engine, who: As, scope: str | None = None) -> int:
    """As if no model had been asked about this scope, or any; about how many statements one was. Audited."""
    with opened(engine, who) as session:
        undone = keyrows.undo_all(session, scope)
        if undone:
            session.audit("memory-keys-undone", json.dumps({"statements": undone, "scope": scope}))
        return undone


def _ask_for(tools: Keyer, who: As, scope: str) -> int:
    with opened(tools.engine, who) as session:
        keyrows.lock(session)
        # Another worker may have been here since we looked.
        rows = session.rows("keys_pick", {"tenant": who.tenant, "scope": scope, "limit": MOST})
        if not rows:
            return 0
        texts = read_texts(session, Hot(None), rows)
        budget = tools.asker.budget()
        shown = lines([texts[row.id][0] for row in rows], budget)
        chosen = [row.id for row in rows[: len(shown)]]
        made = uuid7()
        job = tools.asker.job(who, made, _prompt(session, scope, dict(enumerate(shown, 1)), budget))
        tools.asker.accept(session, job)
        asked = {"id": made, "tenant": who.tenant, "scope": scope, "job": job.id, "memories": chosen}
        session.execute("keys_put", asked)
        _note(session, "memory-keys-asked", made, job.id, {"statements": len(chosen)})
        return 1


def _keep(tools: Keyer, who: As, row: Row[Any], job: JobView, text: str) -> int:
    """0 when another worker has read it, or something in its scope was forgotten."""
    with opened(tools.engine, who) as session:
        found = _held(session, row)
        if found is None:
            return 0
        statements = {one.place: _text(session, one) for one in found}
        answers = parse(text, statements, in_use(session, row.scope, list(statements.values())))
        ids: dict[int, UUID] = {one.place: one.id for one in found}
        keys = {ids[place]: key for place, key in answers.items() if isinstance(key, Key)}
        left = {ids[place]: why for place, why in answers.items() if isinstance(why, str)}
        model = (job.result.model if job.result else "") or "a model"
        keyrows.keep(session, row.scope, keys, model)
        _leave(session, left)
        erase_job(session, row.job, "its keys are kept")
        session.execute("keys_done", {"tenant": who.tenant, "ids": [row.id]})
        _note(session, "memory-keys-kept", row.id, row.job, {"kept": len(keys), "left": len(left)})
        return 1


def _again(tools: Keyer, who: As, row: Row[Any], job: JobView | None) -> None:
    """Ask once more for what failed, or leave it with the reason."""
    why = reason(job)
    with opened(tools.engine, who) as session:
        found = _held(session, row)
        if found is None:
            return
        erase_job(session, row.job, "no keys came of it")
        if not found or tools.asker.gives_up(row.tries, job):
            _leave(session, {one.id: why for one in found})
            session.execute("keys_done", {"tenant": who.tenant, "ids": [row.id]})
            _note(session, "memory-keys-left", row.id, row.job, {"left": len(found), "reason": why})
            return
        budget = tools.asker.budget()
        shown = {one.place: lines([_text(session, one)], budget)[0] for one in found}
        again = tools.asker.job(who, row.id, _prompt(session, row.scope, shown, budget))
        tools.asker.accept(session, again)
        session.execute("keys_again", {"id": row.id, "tenant": who.tenant, "job": again.id})
        _note(session, "memory-keys-asked", row.id, again.id, {"statements": len(found), "reason": why})


def in_use(session: Session, scope: str, texts: Sequence[str]) -> InUse:
    """Keys that are known in a scope: its properties, and those of its subjects that these texts may be about."""
    words = sorted({word.lower() for text in texts for word in tokens(text)})
    asked = {"tenant": session.who.tenant, "scope": scope, "words": words, "most": MOST_KNOWN}
    found = session.rows("keys_in_use", asked)
    return InUse(
        tuple(row.words for row in found if row.kind == "subject"),
        {row.words: row.form for row in found if row.kind == "property"},
    )


def _prompt(session: Session, scope: str, numbered: Mapping[int, str], budget: int) -> str:
    return prompt(numbered, in_use(session, scope, list(numbered.values())), budget)


def _held(session: Session, row: Row[Any]) -> list[Row[Any]] | None:
    """What is left of what was asked about; None when nobody waits for this job any more."""
    keyrows.lock(session)
    asked = {"id": row.id, "tenant": session.who.tenant}
    return session.rows("keys_asked", asked) if session.rows("keys_held", {**asked, "job": row.job}) else None


def _text(session: Session, row: Row[Any]) -> str:
    return read_texts(session, Hot(None), [row])[row.id][0]


def _leave(session: Session, left: Mapping[UUID, str]) -> None:
    if left:
        rows = {"memories": list(left), "reasons": list(left.values())}
        session.execute("keys_left", {"tenant": session.who.tenant, **rows})


def _note(session: Session, action: str, row: UUID, job: UUID, more: Mapping[str, Any]) -> None:
    session.audit(action, json.dumps({"keys": str(row), "job": str(job), **more}))
