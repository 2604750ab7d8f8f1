"""Grants of scopes to agents, and handoffs from one agent to the next. The database enforces them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset.errors import InvalidMemory
from hotset.memory.session import As, opened

_MOST_SUMMARY = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """What one agent gave to the next: a scope it may read (and write, if said), a summary, limits, a format."""

    id: UUID
    scope: str
    from_agent: str
    to_agent: str
    summary: str
    limits: Mapping[str, Any]
    output_format: str | None
    made_at: datetime


def grant(engine: Engine, who: As, scope: str, agent: str, *, write: bool, ttl_s: float | None) -> None:
    with opened(engine, who) as session:
        session.execute("scope", {"tenant": who.tenant, "scope": scope})
        asked = {"tenant": who.tenant, "scope": scope, "agent": _agent(agent)}
        session.execute("grant", {**asked, "write": write, "by": who.actor, "ttl_s": ttl_s})
        session.audit("memory-granted", json.dumps({"scope": scope, "agent": agent, "write": write}))


def revoke(engine: Engine, who: As, scope: str, agent: str) -> bool:
    with opened(engine, who) as session:
        gone = session.execute("revoke", {"tenant": who.tenant, "scope": scope, "agent": _agent(agent)}) > 0
        session.audit("memory-revoked", json.dumps({"scope": scope, "agent": agent, "was_granted": gone}))
        return gone


def hand_off(
    engine: Engine,
    who: As,
    *,
    from_: str,
    to: str,
    scope: str,
    summary: str,
    limits: Mapping[str, Any] | None,
    output_format: str | None,
    write: bool,
) -> Handoff:
    """The grant and the summary, in one transaction."""
    told = json.dumps(dict(limits or {}))
    if not summary.strip() or len(summary) > _MOST_SUMMARY or len(told) > _MOST_SUMMARY:
        raise InvalidMemory(f"A handoff has a summary of 1 to {_MOST_SUMMARY:,} characters, and limits of no more.")
    made = uuid7()
    with opened(engine, who) as session:
        session.execute("scope", {"tenant": who.tenant, "scope": scope})
        asked = {"tenant": who.tenant, "scope": scope, "agent": _agent(to), "write": write}
        session.execute("grant", {**asked, "by": _agent(from_), "ttl_s": None})
        values = {"id": made, "tenant": who.tenant, "scope": scope, "from": from_, "to": to, "summary": summary}
        session.execute("handoff", {**values, "limits": told, "output_format": output_format})
        session.audit("memory-handoff", json.dumps({"scope": scope, "from": from_, "to": to, "handoff": str(made)}))
    return handoffs(engine, who, to, limit=1)[0]


def handoffs(engine: Engine, who: As, to: str, *, limit: int = 20) -> list[Handoff]:
    with opened(engine, who) as session:
        found = session.rows("handoffs", {"tenant": who.tenant, "to": to, "limit": limit})
        return [Handoff(**row._mapping) for row in found]


def _agent(name: str) -> str:
    if not name or len(name) > 200:
        raise InvalidMemory("An agent's name has 1 to 200 characters.")
    return name
