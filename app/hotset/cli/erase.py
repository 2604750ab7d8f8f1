"""`hotset erase`: what people and models said goes; who, when and how it ended stays."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, note, print_json
from hotset.cli.selecting import Yes, confirm

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy import Engine

    from hotset.settings import Settings


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Erase prompts and answers of jobs that ended.")(erase)


def erase(
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="All jobs of this tenant; with --job: whose the jobs are.")
    ] = None,
    job: Annotated[list[str] | None, typer.Option("--job", metavar="ID", help="This job; repeatable.")] = None,
    reason: Annotated[str | None, typer.Option(help="Kept in the audit.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase prompts, answers, options and metadata of jobs that have ended, and their tokens in the cache. For good.

    Messages that carry their answers go with them, and with --tenant alone all messages and memories of the tenant.

    Ids, states, times, counts of tokens and the audit stay; the audit says of each job that it was erased, and its
    seals hold. Jobs that have not ended are refused: cancel them first. Backups that were made before still have
    everything. Call it again as often as you like.

    \b
    Example:  hotset erase --job 0198c0de-0000-7000-8000-000000000000
              hotset erase --tenant acme --reason "they left us" --yes
    """
    from hotset.errors import UsageError
    from hotset.jobs.filters import parse_id
    from hotset.messaging import erase_tenant
    from hotset.settings import load_settings
    from hotset.store import erasure, make_engine

    if tenant is None and not job:
        raise UsageError("Which jobs shall I erase?", remedy="Give --job ID, or --tenant for all jobs of one.")
    ids = [parse_id(i) for i in job] if job else None
    settings = load_settings()
    tenant = tenant or settings.tenant
    engine = make_engine(settings.database_url.get_secret_value(), application="hotset-erase", pool_size=1)
    try:
        there = erasure.look(engine, tenant=tenant, ids=ids)
        memories, scopes = _remembered(engine, tenant) if ids is None else (0, 0)
        if (left := there.jobs - there.erased) or scopes:
            what = f"{left:,} job{'' if left == 1 else 's'}" + (f" and {memories:,} memories" if memories else "")
            confirm(f"erase {what} of tenant {tenant!r} for good", yes=yes)
        actor = f"{getpass.getuser()} (hotset erase)"
        done = erasure.erase(engine, tenant=tenant, ids=ids, actor=actor, reason=reason)
        messages = erase_tenant(engine, tenant=tenant, actor=actor) if ids is None else 0
        memories = _erase_memories(engine, settings, tenant, actor, reason) if scopes else 0
        streams = _forget_tokens(engine, settings, tenant, ids)
    finally:
        engine.dispose()
    if as_json:
        erased = {"tenant": tenant, "jobs": there.jobs, "erased": done, "messages": messages, "streams": streams}
        print_json({**erased, "memories": memories})
    else:
        before = f", {there.erased} were before" if there.erased else ""
        note(f"{done} jobs are erased{before}{f'; {memories} memories' if memories else ''}.")


def _remembered(engine: Engine, tenant: str) -> tuple[int, int]:
    """The tenant's memories and their scopes; none where memory is not set up."""
    from hotset.memory.session import As, opened
    from hotset.memory.setup import state
    from hotset.store.engine import connected

    with connected(engine) as connection:
        if state(connection).current is None:
            return 0, 0
    with opened(engine, As(tenant)) as session:
        found = session.rows("erase_count", {"tenant": tenant})[0]
        return found.memories, found.scopes


def _erase_memories(engine: Engine, settings: Settings, tenant: str, actor: str, reason: str | None) -> int:
    from hotset.broker.replies import connect_cache
    from hotset.memory.room import MemoryRoom
    from hotset.memory.session import As

    cache = connect_cache(settings.cache_url.get_secret_value())
    try:
        return MemoryRoom(engine, cache).erase(As(tenant, actor=actor), reason)
    finally:
        cache.close()


def _forget_tokens(engine: Engine, settings: Settings, tenant: str, ids: Collection[UUID] | None) -> int:
    """Streams of tokens that the cache may still keep; of how many jobs."""
    import redis

    from hotset.broker.replies import KEEP_TOKENS_S, connect_cache, forget_tokens
    from hotset.errors import BrokerUnavailable
    from hotset.store import erasure

    jobs = erasure.streamed(engine, tenant=tenant, ids=ids, within_s=2 * KEEP_TOKENS_S)
    if not jobs:
        return 0
    cache = connect_cache(settings.cache_url.get_secret_value())
    try:
        forget_tokens(cache, jobs)
    except redis.RedisError as e:
        raise BrokerUnavailable(
            f"Erased in Postgres, but the cache does not answer: {e}.",
            remedy=f"Call it again; tokens that the cache keeps are gone after {KEEP_TOKENS_S // 60} minutes anyway.",
        ) from e
    finally:
        cache.close()
    return len(jobs)
