"""How memory does with many rows: `hotset bench memory --part fidelity` and `--part speed`.

The rows are made inside Postgres, since a million texts would keep an encoder busy for hours: sentences of a few
hundred shapes as the rules of English read them, numbered through; each vector lies between those of two real
sentences, nearer to one. Questions have real vectors. The index is built afterwards, as one does with many rows.

Speed is that of agents who search and then pause (`_THINK_S`), each in its own thread of one process, and who have been
at it for long: had all begun with a pause at one moment, a third more than on average would ask after `2 _THINK_S`.
What the process has loaded by then is frozen for the garbage collector, as in a worker.
"""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from hotset.client import Client
from hotset.embedder import ENCODER, shared_embedder
from hotset.lab.figures import spread
from hotset.lab.memory_world import BUILT_IN, make_world, read_templates
from hotset.lab.stage import Addresses
from hotset.memory import searching
from hotset.memory.facts import read
from hotset.memory.records import Wanted
from hotset.memory.session import As, Session, opened, sql
from hotset.memory.vectors import sent
from hotset.memory.words import content, sure_terms, terms

if TYPE_CHECKING:
    from hotset.memory.vectors import Vector

Progress = Callable[[str], None]

_WHO = As("bench")
_K = 5
#: So many agents search at once; each pauses so long between two searches, on average.
_AGENTS, _THINK_S, _SEARCHES = (1, 32, 131), 2.0, 10
_SCOPES = 131
#: Tag -> one row of so many has it.
_SHARES = {"all": 1, "share10": 10, "share1": 100, "share01": 1000}
_REAL, _ASKED, _NEAREST = 2000, 50, 10
_ONE_BY_ONE = 100
_MANY = 500
_CHUNK = 20_000
#: Stands for a sentence's number in its shape.
_NUMBER = "4711"
_COMPANIES = ("Northwind", "Contoso", "Fabrikam", "Initech", "Umbrella", "Globex", "Hooli", "Vandelay")
_THINGS = ("invoice", "delivery", "contract", "warranty", "refund", "shipment", "complaint", "order")
_STATES = ("was confirmed", "is late", "was cancelled", "needs a signature", "was paid", "is disputed")
_REASONS = ("a strike", "the holidays", "rain", "an audit")


def fidelities(addresses: Addresses, client: Client, rows: int, progress: Progress) -> dict[str, dict[str, float]]:
    """All rows in one scope: the ten nearest by the way that a search would choose, against a comparison with every
    row."""
    built = _fill(addresses, client, "project:size", rows, progress)
    asked = _real_vectors(_REAL + _ASKED)[_REAL:]
    arms = {"build of one scope": built}
    for share in _SHARES:
        progress(f"fidelity, {share}")
        arms[f"fidelity {share}"] = _fidelity(client, share, [meaning for meaning, _ in asked])
    return arms


def speeds(addresses: Addresses, client: Client, rows: int, progress: Progress) -> dict[str, dict[str, float]]:
    """Rows spread over the scopes of 131 agents."""
    arms = {"build of many scopes": _fill(addresses, client, f"agent:a%s/{_SCOPES}", rows, progress)}
    rng = random.Random(3)
    client.memory("agent:a0").search("The encoder is loaded by its first text.", 1)
    gc.collect()
    gc.freeze()
    for agents in _AGENTS:
        for known in (False, True):
            progress(f"{agents} agents, vectors of questions {'cached' if known else 'new'}")
            asked = [[sentence(rng, rng.randrange(rows)) for _ in range(_SEARCHES)] for _ in range(agents)]
            if known:
                client._memory_room().embedder.embed([q for questions in asked for q in questions])
            arms[f"search by {agents} agents, vector {'cached' if known else 'new'}"] = _speed(client, asked)
    progress("writes")
    memory, times = client.memory("agent:a0"), []
    for i in range(_ONE_BY_ONE):
        before = time.perf_counter()
        memory.remember(sentence(rng, rows + i))
        times.append(1000 * (time.perf_counter() - before))
    arms["write"] = spread("write_ms", times)
    before = time.perf_counter()
    memory.remember_many([sentence(rng, rows + _ONE_BY_ONE + i) for i in range(_MANY)])
    arms["write of many"] = {"memories": float(_MANY), "memories_per_s": _MANY / (time.perf_counter() - before)}
    return arms


def sentence(rng: random.Random, number: int) -> str:
    return _shape(number, rng.choice(_STATES), rng.choice(_REASONS)).replace(_NUMBER, str(number))


def _shape(number: int, state: str, reason: str) -> str:
    company, thing = _COMPANIES[number % 8], _THINGS[number // 8 % 8]
    return f"The {thing} {_NUMBER} of {company} {state} because of {reason}."


def _fill(addresses: Addresses, client: Client, scope: str, rows: int, progress: Progress) -> dict[str, float]:
    """`scope`: a name, or a pattern `name%s/count` for so many."""
    pattern, _, count = scope.partition("/")
    names = [pattern.replace("%s", str(i)) for i in range(int(count or 1))]
    progress("vectors of real sentences")
    real = _real_vectors(_REAL)
    # Not by the client's engine, which gives up a statement that takes long.
    with psycopg.connect(addresses.database_url, autocommit=True) as owner:
        (definition,) = _one(owner, "SELECT pg_get_indexdef('memories_vectors'::regclass)")
        owner.execute("DROP INDEX memories_vectors")
        before = time.perf_counter()
        with opened(client.engine, _WHO) as session:
            _prepare(session, real)
            for name in names:
                session.execute("scope", {"tenant": _WHO.tenant, "scope": name})
            for first in range(0, rows, _CHUNK):
                progress(f"{first} of {rows} rows made")
                _make(session, names, first, min(first + _CHUNK, rows))
        loaded = time.perf_counter()
        progress("the index")
        owner.execute("SET maintenance_work_mem = '2GB'")
        owner.execute(definition)
        indexed = time.perf_counter()
        owner.execute("VACUUM ANALYZE memories, memory_terms")
        index, table = _one(owner, "SELECT pg_relation_size('memories_vectors'), pg_table_size('memories')")
    return {"rows": float(rows), "load_s": loaded - before, "index_s": indexed - loaded, "index_mb": index / 1e6,
            "table_mb": table / 1e6}  # fmt: skip


def _one(connection: psycopg.Connection[TupleRow], asked: LiteralString) -> TupleRow:
    return connection.execute(asked).fetchall()[0]


def _prepare(session: Session, real: Sequence[tuple[Vector, Vector]]) -> None:
    """Tables of this transaction: the sentences' shapes as rules of English read them, and real vectors, scaled."""
    run = session.connection.exec_driver_sql
    run(
        "CREATE TEMP TABLE shapes (n integer PRIMARY KEY, text text, subject text, attribute text, single boolean,"
        " runs text[], terms text[], sure text[], stems text[]) ON COMMIT DROP"
    )
    numbers = range(len(_COMPANIES) * len(_THINGS))
    shapes = [_shape(*each) for each in itertools.product(numbers, _STATES, _REASONS)]
    for n, text in enumerate(random.Random(1).sample(shapes, len(shapes))):
        said = read(text)
        run("INSERT INTO shapes VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", (
            n, text, said.subject, said.key, said.alone, [" ".join(sorted(r)) for r in said.runs],
            sorted(terms(text)), sorted(sure_terms(text)), sorted(set(content(text))),
        ))  # fmt: skip
    run(
        "CREATE TEMP TABLE reals (n integer PRIMARY KEY, whole halfvec(384), about halfvec(384),"
        " whole_far halfvec(384), about_far halfvec(384)) ON COMMIT DROP"
    )
    for n, (whole, about) in enumerate(real):
        parts = tuple(sent(vector * scale) for scale in (0.75, 0.25) for vector in (whole, about))
        run("INSERT INTO reals VALUES (%s, %s::halfvec, %s::halfvec, %s::halfvec, %s::halfvec)", (n, *parts))
    run("ANALYZE shapes; ANALYZE reals")


def _make(session: Session, scopes: Sequence[str], first: int, end: int) -> None:
    asked = {"tenant": _WHO.tenant, "scopes": list(scopes), "first": first, "last": end - 1, "number": _NUMBER,
             "encoder": ENCODER, "tags": [tag for tag, one_of in _SHARES.items() if one_of > 1],
             "one_of": [one_of for one_of in _SHARES.values() if one_of > 1]}  # fmt: skip
    session.connection.exec_driver_sql(_MADE, asked)


#: The numbers 7919 and 104729 are primes: each row meets other pairs of real vectors.
_MADE = """
WITH made AS (
    INSERT INTO memories (id, tenant, scope, text, digest, subject, attribute, single, runs, terms, stems, valid_from,
                          settled, said_by, tags, encoder, embedding, about)
    SELECT gen_random_uuid(), %(tenant)s, (%(scopes)s::text[])[1 + i %% cardinality(%(scopes)s::text[])],
           replace(s.text, %(number)s, i::text), sha256(convert_to(replace(s.text, %(number)s, i::text), 'UTF8')),
           s.subject, replace(s.attribute, %(number)s, i::text), s.single,
           array_replace(s.runs, %(number)s, i::text), array_replace(s.terms, %(number)s, i::text),
           array_replace(s.stems, %(number)s, i::text), now(), true, 'user',
           ARRAY(SELECT tag FROM unnest(%(tags)s::text[], %(one_of)s::int[]) AS t(tag, one_of) WHERE i %% one_of = 0),
           %(encoder)s, l2_normalize(a.whole + b.whole_far), l2_normalize(a.about + b.about_far)
    FROM generate_series(%(first)s::bigint, %(last)s) AS i
    JOIN shapes s ON s.n = i %% (SELECT count(*) FROM shapes)
    JOIN reals a ON a.n = i * 7919 %% (SELECT count(*) FROM reals)
    JOIN reals b ON b.n = (i / 2000 * 104729 + i) %% (SELECT count(*) FROM reals)
    RETURNING id, tenant, scope, terms
)
INSERT INTO memory_terms (tenant, scope, term, memory, sure)
SELECT tenant, scope, unnest(terms), id, true FROM made
"""


def _real_vectors(count: int) -> list[tuple[Vector, Vector]]:
    """Of sentences of all files of templates, the same ones each time: meaning and property."""
    texts: dict[str, None] = {}
    for seed in itertools.count():
        for name in BUILT_IN:
            texts |= dict.fromkeys(s.text for s in make_world(read_templates(name), seed).sentences)
        if len(texts) >= count:
            break
    chosen = random.Random(1).sample(list(texts), len(texts))[:count]
    return list(zip(*shared_embedder().embed(chosen), strict=True))


def _fidelity(client: Client, share: str, vectors: Sequence[Vector]) -> dict[str, float]:
    hits = wanted = returned = indexed = 0
    times = []
    for vector in vectors:
        with opened(client.engine, _WHO) as session:
            tags = () if share == "all" else (share,)
            search = Wanted(query="x", scopes=("project:size",), tags=tags)
            asked = {**searching.filters(session, search), "whole": sent(vector), "indexed": searching.INDEXED}
            few = searching.Sizes().few(session, search, asked)
            session.connection.exec_driver_sql(
                "SET LOCAL enable_indexscan = off; SET LOCAL plan_cache_mode = force_custom_plan"
            )
            exact = near = {row.id for row in session.rows("near", asked)[:_NEAREST]}
            if not few:
                session.connection.exec_driver_sql("SET LOCAL enable_indexscan = on")
                searching.use_index(session)
                before = time.perf_counter()
                near = {row.id for row in session.rows("near", asked)[:_NEAREST]}
                times.append(1000 * (time.perf_counter() - before))
                indexed += _uses_index(session, asked)
        hits += len(near & exact)
        wanted += len(exact)
        returned += len(near)
    return {"recall_at_10": hits / wanted if wanted else 1.0, "returned": returned / wanted if wanted else 1.0,
            "by_index": indexed / len(vectors), **spread("index_ms", times)}  # fmt: skip


def _uses_index(session: Session, asked: Mapping[str, Any]) -> bool:
    plan = session.connection.exec_driver_sql("EXPLAIN " + sql("near"), dict(asked)).all()
    return any("memories_vectors" in row[0] for row in plan)


def _pauses(rng: random.Random) -> Iterator[float]:
    """Of somebody who is watched from any moment on: the pause that is met is a longer one than most, and its rest is
    as likely to be short as long."""
    longest = 2 * _THINK_S
    yield rng.random() * longest * max(rng.random(), rng.random())
    while True:
        yield rng.uniform(0, longest)


def _speed(client: Client, asked: Sequence[Sequence[str]]) -> dict[str, float]:
    """Each agent asks its questions in its own scope, and pauses before each."""

    def agent(number: int) -> Iterator[float]:
        memory, rng = client.memory(f"agent:a{number % _SCOPES}"), random.Random(number)
        for question, pause_s in zip(asked[number], _pauses(rng), strict=False):
            time.sleep(pause_s)
            start = time.perf_counter()
            memory.search(question, _K)
            yield 1000 * (time.perf_counter() - start)

    began, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(asked)) as pool:
        times = [t for found in pool.map(lambda number: list(agent(number)), range(len(asked))) for t in found]
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return {
        **spread("search_ms", times),
        "searches_per_s": len(times) / seconds,
        "client_cpu_ms": 1000 * busy / len(times),
    }
