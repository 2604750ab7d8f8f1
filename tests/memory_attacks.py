"""Statements of somebody who may run any SQL as the memory's role, but says neither tenant nor agent himself.

Drawn at random: tables and views of the catalogue, joins, subqueries, functions with side effects, changes that say
what they changed, statements that fail with a value in their error.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from hotset.errors import HotsetError
from hotset.memory import As
from hotset.memory.session import opened

#: In every text, scope, tag, summary and name of the victim, and nowhere else.
MARK = "zxq"

TABLES = (
    "memories",
    "memory_terms",
    "memory_segments",
    "memory_proposals",
    "memory_scopes",
    "memory_handoffs",
    "memory_grants",
    "memory_summaries",
    "memory_sources",
    "memory_keys",
    "memory_key_jobs",
)
#: `{a}` stands for a table's alias.
PREDICATES = (
    "true",
    "{a}.tenant = 'acme'",
    "{a}.tenant <> current_setting('hotset.tenant', true)",
    "{a}.scope LIKE 'project:%%'",
    "{a}.scope = ANY (ARRAY['project:zxq', 'agent:zxq'])",
    "NOT ({a}.tenant = 'intruder')",
    "{a}.tenant IS NOT NULL OR 1 = 1",
    "length({a}::text) > 0",
    "{a}::text LIKE '%%zxq%%'",
    "EXISTS (SELECT 1 FROM memory_scopes s WHERE s.tenant = {a}.tenant)",
    "{a}.tenant IN (SELECT tenant FROM memory_grants UNION SELECT 'acme')",
    "1 / (CASE WHEN {a}::text LIKE '%%zxq%%' THEN 0 ELSE 1 END) = 1",
    "('x' || {a}.scope)::integer > 0",
    "pg_notify('seen', {a}::text) IS NOT NULL",
)
READS = (
    "SELECT {a}::text FROM {t} {a} WHERE {p} LIMIT 50",
    "SELECT string_agg({a}::text, ' ') FROM {t} {a} WHERE {p}",
    "SELECT jsonb_agg(to_jsonb({a})) FROM {t} {a} WHERE {p}",
    "SELECT {a}::text, x::text FROM {t} {a} FULL JOIN {u} x ON x.tenant <> {a}.tenant WHERE {p} LIMIT 50",
    "SELECT {a}::text FROM {t} {a} CROSS JOIN LATERAL (SELECT {a}.tenant) x WHERE {p} LIMIT 50",
    "WITH w AS MATERIALIZED (SELECT * FROM {t}) SELECT {a}::text FROM w {a} WHERE {p} LIMIT 50",
    "SELECT {a}::text FROM {t} {a} TABLESAMPLE SYSTEM (100) WHERE {p} LIMIT 50",
    "SELECT {a}::text FROM {t} {a} WHERE {p} UNION ALL SELECT x::text FROM {u} x LIMIT 50",
    "SELECT {a}::text FROM {t} {a} WHERE {p} FOR UPDATE",
    "SELECT query_to_xml('SELECT * FROM {t}', true, false, '')::text FROM {t} {a} WHERE {p} LIMIT 1",
    "SELECT most_common_vals::text FROM pg_stats WHERE tablename = '{t}'",
    "SELECT stxdmcv::text FROM pg_statistic_ext_data LIMIT 5",
    "TABLE memory_tenants",
    "SELECT prompt FROM jobs LIMIT 5",
)
CHANGES = (
    "DELETE FROM {t} {a} WHERE {p} RETURNING {a}::text",
    "UPDATE {t} {a} SET tenant = 'intruder' WHERE {p} RETURNING {a}::text",
    "UPDATE {t} {a} SET scope = 'tenant' WHERE {p} RETURNING {a}::text",
    "INSERT INTO {t} SELECT * FROM {t} {a} WHERE {p} RETURNING {t}::text",
    "INSERT INTO memory_scopes (tenant, scope) VALUES ('acme', 'project:zxq') ON CONFLICT DO NOTHING RETURNING 'zxq'",
    "INSERT INTO memory_grants VALUES ('acme', 'project:zxq', 'stranger', true, now(), 'me') RETURNING 'zxq'",
    "TRUNCATE {t}",
    "ALTER TABLE {t} DISABLE ROW LEVEL SECURITY",
    "DROP POLICY reading ON {t}",
    "SET LOCAL row_security = off",
    "SET LOCAL ROLE postgres",
    "ALTER ROLE hotset_memory BYPASSRLS",
)


def attacks(count: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        shape = rng.choice(READS if rng.random() < 0.7 else CHANGES)
        first, second = (rng.choice(PREDICATES) for _ in "ab")
        predicate = rng.choice(("({p})", "({p}) AND ({q})", "({p}) OR ({q})", "NOT ({p})")).format(p=first, q=second)
        table, other = rng.choice(TABLES), rng.choice(TABLES)
        yield shape.replace("{p}", predicate).replace("{t}", table).replace("{u}", other).replace("{a}", "m")


def foreign_rows(engine: Engine, intruders: Sequence[As], count: int, seed: int = 1) -> list[str]:
    """Statements that showed something of the victim, in a row (also of those they changed) or in an error, or that
    were allowed to change the tables themselves. All are undone."""
    seen = []
    for i, statement in enumerate(attacks(count, seed)):
        try:
            with opened(engine, intruders[i % len(intruders)]) as session:
                result = session.connection.exec_driver_sql(statement, ())
                # What gives no rows and is allowed has changed something, but for the settings of its own transaction.
                changed = "" if statement.startswith("SET LOCAL") else f"done: {MARK}"
                shown = str(result.all()) if result.returns_rows else changed
                raise _Undone
        except _Undone:
            pass
        except (HotsetError, DBAPIError) as e:
            cause = e.__cause__ if isinstance(e, HotsetError) else e
            shown = str(getattr(cause, "orig", cause)).replace(statement, "")
        if MARK in shown:
            seen.append(f"{statement}: {shown[:300]}")
    return seen


class _Undone(Exception):
    """Ends the transaction."""
