"""`client.memory(scope)`: what agents remember, through a client. See docs/memory.md."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hotset.broker.replies import connect_cache
from hotset.client.context import Context
from hotset.errors import InvalidJob, InvalidMemory
from hotset.jobs.durations import parse_duration
from hotset.memory.records import Memory, New, Wanted
from hotset.memory.scopes import parse_scope, parse_scopes
from hotset.memory.session import As

if TYPE_CHECKING:
    from hotset.agents.intake import Intake
    from hotset.agents.own import OwnAgent
    from hotset.client.client import Client
    from hotset.memory.room import MemoryRoom
    from hotset.memory.sharing import Handoff
    from hotset.memory.upkeep import Consolidated, Drill
    from hotset.settings import Settings
    from hotset.store import JobStore

#: What recalled memories may add to a prompt: about 500 tokens.
RECALL_CHARS = 2000
_MOST_RECALLED = 50


@dataclass(frozen=True, slots=True)
class Scope:
    """The memories of a scope, for the client's tenant, or for one agent of it."""

    client: Client
    scope: str
    agent: str = ""

    def remember(
        self,
        text: str,
        *,
        said_by: str = "user",
        subject: str | None = None,
        at: datetime | None = None,
        ttl: str | float | None = None,
        importance: float = 0.5,
        pinned: bool = False,
        tags: Sequence[str] = (),
        source: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Keep a text as it is; its id, when it is committed. No language model is asked.

        `at`: since when it is true (default: now). `ttl`: wall seconds, or a text such as "7d", after which it goes.
        `importance`: 0 to 1; 0.7 and more survive the clean-up by age, as does what is `pinned`. If the text gives a
        new value of something that is known, the old one's validity ends where this one's begins.
        Raises InvalidMemory, MemoryForbidden, EmbedderMissing, StoreUnavailable.
        """
        return self._room.remember(
            self._who,
            self.scope,
            New(
                text=text,
                said_by=said_by,
                subject=subject,
                at=at,
                ttl_s=None if ttl is None else parse_duration(ttl, "ttl"),
                importance=importance,
                pinned=pinned,
                tags=tuple(tags),
                source=source or {},
            ),
        )

    def remember_many(self, rows: Iterable[str | Mapping[str, Any]]) -> list[UUID]:
        """Many at once: texts, or mappings with the names of `remember`'s arguments (`ttl_s` in place of `ttl`).

        Faster; what they change of earlier memories is found by the next consolidation (every minute, by a worker).
        """
        try:
            new = [New(text=row) if isinstance(row, str) else New(**row) for row in rows]
        except TypeError as e:
            raise InvalidMemory(f"A row is not what `remember` takes: {e}.") from e
        return self._room.remember_many(self._who, self.scope, new)

    def remember_answer(
        self,
        job: str | UUID,
        *,
        ttl: str | float | None = None,
        importance: float = 0.5,
        pinned: bool = False,
        tags: Sequence[str] = (),
    ) -> UUID:
        """Keep what a job answered, as said by its agent, true since its end; the job is its source.

        The rest is as in `remember`. Raises UnknownJob, and InvalidMemory for a job without an answer, or one of more
        than 20,000 characters.
        """
        view = self.client.job(job).view
        if view.result is None or not view.result.text:
            raise InvalidMemory(
                f"Job {view.id} has no answer to remember: it is {view.state}.",
                remedy="Wait for it: client.job(id).result().",
            )
        return self.remember(
            view.result.text,
            said_by=view.agent,
            at=view.finished_at,
            ttl=ttl,
            importance=importance,
            pinned=pinned,
            tags=tags,
            source={"job": str(view.id), "agent": view.agent},
        )

    def search(
        self,
        query: str,
        k: int = 5,
        *,
        as_of: datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        said_by: str | None = None,
        tags: Sequence[str] = (),
        tier: str | None = None,
        also: Sequence[str] = (),
        threshold: float | None = None,
        texts: bool = True,
    ) -> list[Memory]:
        """The k memories that answer best, what is true now before what was; none when nothing is relevant.

        `as_of`: what was true then. `since`, `until`: true since that time, before that time. `also`: further scopes.
        `threshold`: how relevant an answer has to be (0: give whatever is nearest). `texts=False`: no texts, faster.
        Raises InvalidMemory, EmbedderMissing, StoreUnavailable.
        """
        return self._room.search(
            self._who,
            Wanted(
                query=query,
                scopes=parse_scopes([self.scope, *also]),
                k=k,
                as_of=as_of,
                since=since,
                until=until,
                said_by=said_by,
                tags=tuple(tags),
                tier=tier,
                threshold=threshold,
                texts=texts,
            ),
        )

    def history(self, about: str | UUID) -> list[Memory]:
        """What was said of a topic (a question, or a memory's id), in the order in which it was true."""
        return self._room.history(self._who, (self.scope,), about)

    def forget(self, memory_id: str | UUID | Sequence[UUID], *, reason: str = "forgotten by its owner") -> int:
        """Erase memories from every tier, cache and segment; how many rows went. What they had closed is open again.

        Raises UnknownMemory; Unavailable when a cache cannot be cleared, and then nothing went.
        """
        ids = [memory_id] if isinstance(memory_id, str | UUID) else list(memory_id)
        return self._room.forget(self._who, [_id(i) for i in ids], reason=reason)

    def get(self, memory_id: str | UUID) -> Memory:
        """One memory. Raises UnknownMemory."""
        return self._room.get(self._who, _id(memory_id))

    @property
    def _room(self) -> MemoryRoom:
        return self.client._memory_room()

    @property
    def _who(self) -> As:
        return self.client._as(self.agent)


class Remembering:
    """The part of a client that has to do with memory."""

    tenant: str
    settings: Settings
    _store: JobStore
    _intake: Intake
    _connecting: threading.Lock
    #: Made at first use; of this process alone.
    _room: MemoryRoom | None

    if TYPE_CHECKING:

        def _here(self) -> Any: ...

    def _memory_room(self) -> MemoryRoom:
        """Made at first use: the vectors' library is not loaded before it is needed."""
        self._here()
        with self._connecting:
            if self._room is None:
                from hotset.memory.room import MemoryRoom

                cache = connect_cache(self.settings.cache_url.get_secret_value(), text=False)
                self._room = MemoryRoom(self._store.engine, cache, chunking=self.settings.memory_chunking)
            return self._room

    def _as(self, agent: str = "") -> As:
        return As(self.tenant, agent, self._here()._actor)

    def memory(self, scope: str = "tenant", *, agent: str = "") -> Scope:
        """The memories of a scope: "tenant", "project:…", "agent:…" or "task:…".

        With an `agent`, as that agent: it sees its own scope and those that it was granted; the database enforces it.
        """
        return Scope(self, parse_scope(scope), agent)  # type: ignore[arg-type]

    def context(self, agent: str | OwnAgent[Any]) -> Context:
        """What `submit` gives the function of an own agent as `ctx`: for calls with more arguments than one."""
        return Context(self, agent if isinstance(agent, str) else agent.name)  # type: ignore[arg-type]

    def grant(self, scope: str, agent: str, *, write: bool = False, ttl: str | float | None = None) -> None:
        """Let an agent read a scope, and write to it if said, for a time if said."""
        seconds = None if ttl is None else parse_duration(ttl, "ttl")
        self._memory_room().grant(self._as(), parse_scope(scope), agent, write=write, ttl_s=seconds)

    def revoke(self, scope: str, agent: str) -> bool:
        """Take a grant back; whether there was one."""
        return self._memory_room().revoke(self._as(), parse_scope(scope), agent)

    def handoff(
        self,
        *,
        from_: str,
        to: str,
        scope: str,
        summary: str,
        limits: Mapping[str, Any] | None = None,
        output_format: str | None = None,
        write: bool = False,
    ) -> Handoff:
        """Pass a scope from one agent to the next: the next may read it (and write, if said), and finds the summary,
        limits and wanted format in `handoffs`. Audited."""
        return self._memory_room().hand_off(
            self._as(),
            from_=from_,
            to=to,
            scope=parse_scope(scope),
            summary=summary,
            limits=limits,
            output_format=output_format,
            write=write,
        )

    def handoffs(self, to: str) -> list[Handoff]:
        """What was handed to an agent, the newest first."""
        return self._memory_room().handoffs(self._as(), to)

    def memory_stats(self) -> dict[str, list[dict[str, Any]]]:
        """Counts by scope, tier and ring, the segments of cold memories, summaries by scope, kind and state, and keys
        that models were asked for by scope and state, with the reason of those that were left."""
        return self._memory_room().stats(self._as())

    def memory_check(self) -> list[Drill]:
        """Read every segment of the tenant and compare each text with its row."""
        from hotset.memory import upkeep

        return upkeep.verify_all(self._memory_room().engine, self._as())

    def memory_restore(self) -> int:
        """Every cold memory becomes warm; how many."""
        from hotset.memory import upkeep

        return upkeep.restore(self._memory_room().engine, self._as())

    def consolidate(self) -> Consolidated:
        """What a worker does every minute, at once: see `hotset.memory.upkeep.consolidate`."""
        from hotset.memory import upkeep

        return upkeep.consolidate(self._memory_room().engine, self._as())

    def demote(self, *, older_s: float = 0.0) -> int:
        """What a worker does every ten minutes, at once: what nobody used for so long goes cold; how many."""
        from hotset.memory import upkeep

        return upkeep.demote_old(self._memory_room().engine, self._as(), older_s=older_s)

    def summarise(self) -> int:
        """What a worker does every hour and minute, at once: keep the summaries that jobs have answered, and submit a
        job for each closed day, week or month that is due, whatever the setting `memory_summaries` says; how many were
        kept and submitted. See `hotset.memory.summaries`."""
        from hotset.memory import summaries

        room = self._memory_room()
        tools = summaries.Summariser(self._store, self._intake, room.embedder)
        return summaries.collect(tools, self._as()) + summaries.ask(tools, self._as())

    def extract_keys(self) -> int:
        """What a worker does every minute, at once: keep the keys (subject and property) that jobs have answered, and
        submit a job for each scope with statements that no model was asked about, whatever the setting `memory_keys`
        says; how many answers were read and jobs submitted. See `hotset.memory.extraction`."""
        from hotset.memory import extraction

        tools = extraction.Keyer(self._store, self._intake)
        return extraction.collect(tools, self._as()) + extraction.ask(tools, self._as())

    def undo_keys(self, scope: str | None = None) -> int:
        """Everything is as if no model had been asked for keys of this scope, or of any; of how many statements one
        was. Workers ask again if `memory_keys` is `model`."""
        from hotset.memory import extraction

        chosen = None if scope is None else parse_scope(scope)
        return extraction.undo(self._memory_room().engine, self._as(), chosen)

    def recall(self, agent: str, prompt: str, k: int, scopes: Sequence[str] = ()) -> str:
        """The prompt with what is remembered of its matter before it: from the agent's own scope and the tenant's, or
        from these. At most about 500 tokens; what does not fit is left out. Nothing relevant: the prompt as it is."""
        if not 0 < k <= _MOST_RECALLED:
            raise InvalidJob(f"recall is {k}: give 1 to {_MOST_RECALLED}.")
        chosen = parse_scopes(scopes or (f"agent:{agent}", "tenant"))
        query = " ".join(prompt.split())[-1000:]
        if not query:
            return prompt
        found = self._memory_room().search(self._as(), Wanted(query=query, scopes=chosen, k=k))
        lines: list[str] = []
        left = RECALL_CHARS
        for memory in found:
            state = "" if memory.valid_to is None else f", until {memory.valid_to:%Y-%m-%d}"
            line = f"- {memory.text} (since {memory.valid_from:%Y-%m-%d}{state})"
            if len(line) <= left:
                lines.append(line)
                left -= len(line)
        return "\n".join(["What is remembered:", *lines, "", prompt]) if lines else prompt

    def _recalled(self, agent: Any, prompt: Any, k: int, scopes: Sequence[str], idempotency_key: str | None) -> str:
        """The prompt of a job that asked for it."""
        if not isinstance(agent, str) or not isinstance(prompt, str) or idempotency_key is not None:
            raise InvalidJob(
                "recall is for one job of a named agent with a text, without an idempotency key.",
                remedy="What is remembered changes, and with it the prompt; call client.recall(...) yourself.",
            )
        return self.recall(agent, prompt, k, scopes)


def _id(text: str | UUID) -> UUID:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        raise InvalidMemory(f"{text!r} is no id of a memory.") from None
