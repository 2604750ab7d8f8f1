"""`hotset bench memory`: is what is remembered found, and what is true now found first? And how fast, and how safely?

The evaluation uses the public API alone: sentences go in in order, then one question a call, five answers each. Words
come from a file of templates (`memory_world`); `held_out` is the one that nothing was tuned on.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import redis

from hotset.client import Client
from hotset.client.memory import Scope
from hotset.embedder import shared_embedder
from hotset.errors import UnknownMemory
from hotset.lab.figures import Run, percentile
from hotset.lab.memory_world import SLICES, Question, World, make_world, read_templates
from hotset.lab.stage import Addresses, Stage
from hotset.memory import searching
from hotset.memory.records import Wanted
from hotset.memory.session import As, opened
from hotset.memory.vectors import literal
from hotset.memory.words import content
from hotset.settings import Settings

_K = 5
#: 95 % of a normal distribution.
_Z = 1.96
_SHARES = {"all": 1.0, "share10": 0.1, "share1": 0.01, "share01": 0.001}


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    rows: int = 10_000,
    templates: str = "held_out",
) -> Iterator[Run]:
    """`jobs`: worlds of about 400 questions. `rows`: memories for fidelity and speed. Every run has other seeds."""
    found = read_templates(templates)
    for run in range(runs):
        yield _measure_once(stage.fresh(), found, range(run * jobs, (run + 1) * jobs), rows, progress)


def wilson_lower(hits: int, n: int) -> float:
    """The lower bound of a share, 95 % (Wilson 1927)."""
    if n == 0:
        return 0.0
    p = hits / n
    centre = p + _Z * _Z / (2 * n)
    spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    return (centre - spread) / (1 + _Z * _Z / n)


def _measure_once(
    addresses: Addresses, templates: Any, seeds: range, rows: int, progress: Callable[[str], None]
) -> Run:
    settings = addresses.settings()
    with Client(settings=settings, tenant="bench") as client:
        arms: dict[str, dict[str, float]] = {}
        worlds = [make_world(templates, seed) for seed in seeds]
        progress(f"{len(worlds)} worlds: accuracy")
        tally = _Tally()
        told = [_tell(client.memory(f"project:w{i}"), world, tally) for i, world in enumerate(worlds)]
        for i, world in enumerate(worlds):
            _ask(client.memory(f"project:w{i}"), world, told[i], tally)
        arms |= tally.arms()
        progress("baselines")
        arms |= _baselines(worlds)
        progress("the same answers from every tier")
        arms["tiers"] = _tiers(client, worlds, addresses)
        progress("isolation and forgetting")
        arms["isolation"] = _isolation(settings, worlds)
        arms["forgetting"] = _forgetting(client, addresses)
        progress(f"{rows} memories: fidelity and speed")
        arms |= _at_size(client, rows)
        return arms


class _Tally:
    def __init__(self) -> None:
        self.hits: dict[str, list[bool]] = defaultdict(list)
        self.current: list[bool] = []
        self.answered: dict[bool, list[bool]] = {True: [], False: []}
        self.write_ms: list[float] = []
        self.search_ms: list[float] = []

    def count(self, question: Question, order: Sequence[int]) -> None:
        self.answered[bool(question.wanted)].append(bool(order))
        if not question.wanted:
            return
        self.hits[question.slice].append(all(w in order for w in question.wanted))
        if question.updated:
            first = question.wanted[0]
            stale = [order.index(s) for s in question.stale if s in order]
            self.current.append(first in order and all(order.index(first) < s for s in stale))

    def arms(self) -> dict[str, dict[str, float]]:
        whole = [hit for hits in self.hits.values() for hit in hits]
        yes, no = self.answered[True], self.answered[False]
        right = (_share(yes), _share([not a for a in no]))
        return {
            "hotset": {
                **_recall(whole),
                "current_first": _share(self.current),
                "abstention_balanced": sum(right) / 2,
                "answered": right[0],
                "abstained": right[1],
                **_times("write_ms", self.write_ms),
                **_times("search_ms", self.search_ms),
            },
            **{f"slice {name}": _recall(self.hits[name]) for name in SLICES if self.hits[name]},
        }


def _tell(memory: Scope, world: World, tally: _Tally) -> dict[UUID, int]:
    ids = {}
    for i, sentence in enumerate(world.sentences):
        start = time.perf_counter()
        source = {"session": sentence.session}
        ids[memory.remember(sentence.text, said_by=sentence.said_by, at=sentence.at, source=source)] = i
        tally.write_ms.append(1000 * (time.perf_counter() - start))
    return ids


def _ask(memory: Scope, world: World, ids: dict[UUID, int], tally: _Tally) -> None:
    for question in world.questions:
        start = time.perf_counter()
        found = memory.search(question.text, _K, as_of=question.as_of)
        tally.search_ms.append(1000 * (time.perf_counter() - start))
        tally.count(question, [ids[m.id] for m in found])


def _baselines(worlds: Sequence[World]) -> dict[str, dict[str, float]]:
    """Each ranks the sentences that were said by then; none knows what changed. The oracle knows the answers, and
    shows that the questions can be answered."""
    rng = random.Random(0)
    tallies = {name: _Tally() for name in ("random", "full_text", "vector_only", "oracle")}
    for world in worlds:
        texts = [s.text for s in world.sentences]
        vectors = shared_embedder().embed(texts)
        asked = shared_embedder().embed([q.text for q in world.questions])
        words = [Counter(content(t)) for t in texts]
        seen = Counter(w for found in words for w in found)
        for question, vector in zip(world.questions, asked, strict=True):
            known = [i for i, s in enumerate(world.sentences) if question.as_of is None or s.at <= question.as_of]
            stems = set(content(question.text))
            near = vectors @ vector
            text_score = [sum(math.log(1 + len(texts) / seen[w]) for w in stems & words[i].keys()) for i in known]
            tallies["random"].count(question, rng.sample(known, min(_K, len(known))))
            by_text = sorted(zip(text_score, known, strict=True), key=lambda x: (-x[0], x[1]))
            tallies["full_text"].count(question, [i for score, i in by_text[:_K] if score > 0])
            tallies["vector_only"].count(question, sorted(known, key=lambda i: -near[i])[:_K])
            tallies["oracle"].count(question, list(question.wanted))
    keep = ("recall_at_5", "recall_at_5_lower", "n", "current_first", "abstention_balanced")
    return {name: {f: tally.arms()["hotset"][f] for f in keep} for name, tally in tallies.items()}


def _tiers(client: Client, worlds: Sequence[World], addresses: Addresses) -> dict[str, float]:
    """The same five ids after everything went cold, after Redis was flushed, and after a restore."""
    asked = [(f"project:w{i}", q) for i, world in enumerate(worlds) for q in world.questions[::10]][:150]

    def answers() -> list[list[tuple[UUID, str]]]:
        return [[(m.id, m.text) for m in client.memory(s).search(q.text, _K, as_of=q.as_of)] for s, q in asked]

    before = answers()
    cold = client.demote()
    demoted = answers()
    client.demote()
    with redis.Redis.from_url(addresses.cache_url) as cache:
        cache.flushall()
    flushed = answers()
    faults = sum(len(d.faults) for d in client.memory_check())
    client.memory_restore()
    restored = answers()
    return {
        "questions": len(asked),
        "demoted": cold,
        "same_when_cold": _share([a == b for a, b in zip(before, demoted, strict=True)]),
        "same_when_flushed": _share([a == b for a, b in zip(before, flushed, strict=True)]),
        "same_when_restored": _share([a == b for a, b in zip(before, restored, strict=True)]),
        "segment_faults": faults,
    }


def _isolation(settings: Settings, worlds: Sequence[World], count: int = 10_000) -> dict[str, float]:
    """As another tenant, and as an agent without a grant: raw statements as the role that memory uses, and searches."""
    foreign = 0
    texts = [s.text for world in worlds for s in world.sentences]
    tables = ("memories", "memory_terms", "memory_segments", "memory_scopes", "memory_grants", "memory_handoffs")
    with Client(settings=settings, tenant="intruder") as client:
        engine = client.engine
        tried = 0
        for who in (As("intruder"), As("bench", agent="nobody")):
            with opened(engine, who) as session:
                for i in range(count // 2):
                    table = tables[i % (2 if who.agent else len(tables))]
                    tricks = ("true", "tenant = 'bench'", "scope LIKE 'project:%%'", "tenant <> ''")
                    query = f"SELECT count(*) FROM {table} WHERE {tricks[i % 4]}"  # noqa: S608 - names are ours
                    foreign += int(session.connection.exec_driver_sql(query).scalar_one())
                    tried += 1
        for text in texts[:100]:
            foreign += len(client.memory("project:w0").search(text, _K, threshold=0.0))
            tried += 1
    return {"queries": tried, "foreign_rows": foreign}


def _forgetting(client: Client, addresses: Addresses) -> dict[str, float]:
    """Of 50 secrets, half of them cold, nothing is left: not in a table, a segment or the cache."""
    memory = client.memory("project:secrets")
    secrets = [f"The vault of branch {i} opens with zxq{i:04d}secret." for i in range(50)]
    ids = [memory.remember(text) for text in secrets[:25]]
    client.demote()
    ids += [memory.remember(text) for text in secrets[25:]]
    for text in secrets[::5]:
        memory.search(text, _K)
    memory.forget(ids)
    traces = 0
    for i in ids:
        try:
            memory.get(i)
            traces += 1
        except UnknownMemory:
            pass
    for text in secrets:
        traces += sum("zxq" in m.text for m in memory.search(text, _K, threshold=0.0))
    traces += sum("zxq" in str(fault) for d in client.memory_check() for fault in d.faults)
    with redis.Redis.from_url(addresses.cache_url) as cache:
        for key in cache.scan_iter("hs:mem:*"):
            traces += any(str(i).encode() in key for i in ids)
    return {"forgotten": len(ids), "traces": traces}


def _at_size(client: Client, rows: int) -> dict[str, dict[str, float]]:
    memory = client.memory("project:size")
    rng = random.Random(1)
    start = time.perf_counter()
    batch: list[dict[str, Any]] = []
    for i in range(rows):
        tags = tuple(name for name, share in _SHARES.items() if share < 1 and i % round(1 / share) == 0)
        batch.append({"text": _sentence(rng, i), "tags": tags})
        if len(batch) == 1000 or i == rows - 1:
            memory.remember_many(batch)
            batch = []
    build_s = time.perf_counter() - start
    questions = [_sentence(rng, rng.randrange(rows)) for _ in range(100)]
    arms: dict[str, dict[str, float]] = {
        f"fidelity {name}": _fidelity(client, name, questions[:50]) for name in _SHARES
    }
    for threads in (1, 32):
        for hit in (False, True):
            asked = questions if hit else [_sentence(rng, rng.randrange(rows)) for _ in range(100)]
            arms[f"search {threads} threads, vector {'cached' if hit else 'new'}"] = _speed(memory, asked, threads)
    arms["build"] = {"rows": rows, "seconds": build_s, "rows_per_s": rows / build_s}
    return arms


def _fidelity(client: Client, share: str, questions: Sequence[str]) -> dict[str, float]:
    """The ten nearest by the way that a search would choose, against a comparison with every row."""
    who = As("bench")
    vectors = shared_embedder().embed(list(questions))
    hits = wanted = returned = 0
    indexed = 0
    for vector in vectors:
        with opened(client.engine, who) as session:
            tags = () if share == "all" else (share,)
            where = searching.filters(session, Wanted(query="x", scopes=("project:size",), tags=tags))
            asked = {**where, "whole": literal(vector), "pool": 10}
            few = searching.few_fit(session, where)
            session.connection.exec_driver_sql("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = on")
            exact = {row.id for row in session.rows("near", asked)}
            if few:
                near = exact
            else:
                session.connection.exec_driver_sql("SET LOCAL enable_indexscan = on")
                searching.use_index(session)
                near = {row.id for row in session.rows("near", asked)}
                indexed += 1
        hits += len(near & exact)
        wanted += len(exact)
        returned += len(near)
    return {"recall_at_10": hits / wanted if wanted else 1.0, "returned": returned / wanted if wanted else 1.0,
            "by_index": indexed / len(questions)}  # fmt: skip


def _speed(memory: Scope, questions: Sequence[str], threads: int) -> dict[str, float]:
    def one(text: str) -> float:
        start = time.perf_counter()
        memory.search(text, _K)
        return 1000 * (time.perf_counter() - start)

    with ThreadPoolExecutor(threads) as pool:
        return _times("search_ms", list(pool.map(one, questions)))


def _sentence(rng: random.Random, number: int) -> str:
    who = ("Northwind", "Contoso", "Fabrikam", "Initech", "Umbrella", "Globex", "Hooli", "Vandelay")[number % 8]
    what = ("invoice", "delivery", "contract", "warranty", "refund", "shipment", "complaint", "order")[number // 8 % 8]
    how = rng.choice(("was confirmed", "is late", "was cancelled", "needs a signature", "was paid", "is disputed"))
    return (
        f"The {what} {number} of {who} {how} because of {rng.choice(('a strike', 'the holidays', 'rain', 'an audit'))}."
    )


def _recall(hits: Sequence[bool]) -> dict[str, float]:
    return {
        "recall_at_5": _share(hits),
        "recall_at_5_lower": wilson_lower(sum(hits), len(hits)),
        "n": float(len(hits)),
    }


def _times(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p50": percentile(values, 0.5), f"{name}_p99": percentile(values, 0.99)} if values else {}


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
