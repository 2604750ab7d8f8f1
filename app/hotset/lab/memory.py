"""`hotset bench memory`: is what is remembered found, and what is true now found first? And how fast, and how safely?

The evaluation uses the public API alone: sentences go in in order, then one question a call, five answers each. Words
come from a file of templates (`memory_world`); nothing was tuned on `held_out` and `unseen`. What depends on how much
is remembered stands in `memory_size`.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import redis

from hotset.client import Client
from hotset.client.memory import Scope
from hotset.embedder import shared_embedder
from hotset.errors import UnknownMemory, UsageError
from hotset.lab.figures import Run, spread
from hotset.lab.memory_chunks import chunkings
from hotset.lab.memory_keys import by_model, extraction
from hotset.lab.memory_oracle import ORACLES, apply, keys_of
from hotset.lab.memory_size import fidelities, speeds
from hotset.lab.memory_summaries import measure_summaries
from hotset.lab.memory_world import SLICES, Question, World, make_world, read_templates
from hotset.lab.stage import Addresses, Stage
from hotset.memory.session import As, opened
from hotset.memory.words import content
from hotset.models.ollama import OllamaServer
from hotset.settings import Settings

_K = 5
#: 95 % of a normal distribution.
_Z = 1.96
PARTS = ("accuracy", "chunks", "extraction", "keys", "summaries", "tiers", "isolation", "fidelity", "speed")


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    rows: int = 10_000,
    templates: str = "held_out",
    parts: Sequence[str] = PARTS,
    model_server: str | None = None,
    model: str | None = None,
) -> Iterator[Run]:
    """`jobs`: worlds of 300 to 400 questions. `rows`: memories for fidelity and speed. `model_server`, `model`: an
    address, and who is asked for keys there, beside the rules. Every run has other seeds."""
    if (model_server is None) != (model is None):
        raise UsageError("A model server and a model belong together.", remedy="Give both --model-server and --model.")
    if unknown := set(parts) - set(PARTS):
        raise UsageError(f"memory has no part {sorted(unknown)[0]!r}.", remedy=f"It has {', '.join(PARTS)}.")
    found = read_templates(templates)
    for run in range(runs):
        seeds = range(run * jobs, (run + 1) * jobs)
        yield _measure_once(stage.fresh(), found, seeds, rows, parts, progress, (model_server, model))


def wilson_lower(hits: int, n: int) -> float:
    """The lower bound of a share, 95 % (Wilson 1927)."""
    if n == 0:
        return 0.0
    p = hits / n
    centre = p + _Z * _Z / (2 * n)
    spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    return (centre - spread) / (1 + _Z * _Z / n)


def _measure_once(
    addresses: Addresses,
    templates: Any,
    seeds: range,
    rows: int,
    parts: Sequence[str],
    progress: Callable[[str], None],
    asked: tuple[str | None, str | None],
) -> Run:
    settings = addresses.settings()
    with Client(settings=settings, tenant="bench") as client:
        arms: dict[str, dict[str, float]] = {}
        worlds = [make_world(templates, seed) for seed in seeds]
        if "extraction" in parts:
            arms["keys by rules"] = extraction(worlds)
            if asked[0] and asked[1]:
                with OllamaServer(asked[0]) as server:
                    arms[f"keys by {asked[1]}"] = by_model(worlds, server, asked[1], progress)
        if {"accuracy", "keys", "tiers", "isolation"} & set(parts):
            tally = _Tally()
            keyed = {name: _Tally() for name in ("rules alone", *ORACLES)}
            for i, world in enumerate(worlds):
                size = f"{len(world.sentences)} sentences, {len(world.questions)} questions"
                progress(f"world {i + 1} of {len(worlds)}: {size}")
                memory = client.memory(f"project:w{i}")
                told = _tell(memory, world, tally)
                if "accuracy" in parts:
                    _closed(memory, world, told, tally)
                    _ask(memory, world, told, tally)
                if "keys" in parts:
                    _ask_with_keys(client, memory, world, told, keyed, seeds[i], progress)
            if "keys" in parts:
                arms |= {name: _beside_keys(one) for name, one in keyed.items()}
            if "accuracy" in parts:
                progress("baselines")
                arms |= tally.arms() | _baselines(worlds)
        if "chunks" in parts:
            progress("long texts")
            arms |= chunkings(settings, worlds)
        if "summaries" in parts:
            arms["summaries"] = measure_summaries(client, worlds, _K, progress)
        if "tiers" in parts:
            progress("the same answers from every tier")
            arms["tiers"] = _tiers(client, worlds, addresses)
        if "isolation" in parts:
            progress("isolation and forgetting")
            arms["isolation"] = _isolation(settings, worlds)
            arms["forgetting"] = _forgetting(client, addresses)
        if "fidelity" in parts:
            arms |= fidelities(addresses, client, rows, progress)
        if "speed" in parts:
            arms |= speeds(addresses, client, rows, progress)
        return arms


class _Tally:
    def __init__(self) -> None:
        self.hits: dict[str, list[bool]] = defaultdict(list)
        self.current: list[bool] = []
        #: Whether the first answer is the wanted one; whether a closed sentence was closed by what renewed it; whether
        #: one that was renewed was closed; whether one that still holds beside another was.
        self.first: list[bool] = []
        self.closed_rightly: list[bool] = []
        self.renewed_closed: list[bool] = []
        self.standing_closed: list[bool] = []
        self.answered: dict[bool, list[bool]] = {True: [], False: []}
        self.write_ms: list[float] = []
        self.search_ms: list[float] = []

    def count(self, question: Question, order: Sequence[int]) -> None:
        self.answered[bool(question.wanted)].append(bool(order))
        if not question.wanted:
            return
        self.hits[question.slice].append(all(w in order for w in question.wanted))
        self.first.append(list(order[:1]) == [question.wanted[0]])
        if question.updated:
            first = question.wanted[0]
            stale = [order.index(s) for s in question.stale if s in order]
            self.current.append(first in order and all(order.index(first) < s for s in stale))

    def arms(self) -> dict[str, dict[str, float]]:
        # The slice of what holds for several values at once stands beside the six of the aim.
        whole = [hit for name, hits in self.hits.items() if name != "both" for hit in hits]
        yes, no = self.answered[True], self.answered[False]
        right = (_share(yes), _share([not a for a in no]))
        return {
            "hotset": {
                **_recall(whole),
                "current_first": _share(self.current),
                "current_first_lower": wilson_lower(sum(self.current), len(self.current)),
                "first_is_wanted": _share(self.first),
                "closed_rightly": _share(self.closed_rightly),
                "renewed_closed": _share(self.renewed_closed),
                "both_stand_closed": _share(self.standing_closed),
                "abstention_balanced": sum(right) / 2,
                "answered": right[0],
                "abstained": right[1],
                **spread("write_ms", self.write_ms),
                **spread("search_ms", self.search_ms),
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


def _ask_with_keys(
    client: Client,
    memory: Scope,
    world: World,
    ids: dict[UUID, int],
    tallies: dict[str, _Tally],
    seed: int,
    progress: Callable[[str], None],
) -> None:
    """The same questions with one oracle's keys after the other's."""
    by_number = {i: memory_id for memory_id, i in ids.items()}
    for name, tally in tallies.items():
        progress(name)
        if name in ORACLES:
            keys = keys_of(world, ORACLES[name], seed)
            apply(client, memory.scope, {by_number[i]: key for i, key in keys.items()})
        _ask(memory, world, ids, tally)
        client.undo_keys(memory.scope)


def _beside_keys(tally: _Tally) -> dict[str, float]:
    arms = tally.arms()
    keep = ("recall_at_5", "recall_at_5_lower", "n", "current_first", "current_first_lower", "first_is_wanted",
            "abstention_balanced")  # fmt: skip
    slices = {name: arms[f"slice {name}"]["recall_at_5"] for name in SLICES if f"slice {name}" in arms}
    return {**{f: arms["hotset"][f] for f in keep}, **slices}


def _closed(memory: Scope, world: World, ids: dict[UUID, int], tally: _Tally) -> None:
    """What was closed, and whether by a new value of the same property."""
    closers = {i: memory.get(memory_id).supersedes for memory_id, i in ids.items()}
    ends = {i: memory.get(memory_id).valid_to is not None for memory_id, i in ids.items()}
    chains = [(*q.stale, q.wanted[0]) for q in world.questions if q.updated]
    renewed_by = {chain[n]: set(chain[n + 1 :]) for chain in chains for n in range(len(chain) - 1)}
    for closer, memory_id in closers.items():
        closed = ids.get(memory_id) if memory_id is not None else None
        if closed is not None and ends[closed]:
            tally.closed_rightly.append(closer in renewed_by.get(closed, ()))
    tally.renewed_closed += [ends[i] for i in renewed_by]
    tally.standing_closed += [ends[i] for i in world.standing]


def _baselines(worlds: Sequence[World]) -> dict[str, dict[str, float]]:
    """Each ranks the sentences that were said by then; none knows what changed. The oracle knows the answers, and
    shows that the questions can be answered."""
    rng = random.Random(0)
    tallies = {name: _Tally() for name in ("random", "full_text", "vector_only", "oracle")}
    for world in worlds:
        texts = [s.text for s in world.sentences]
        vectors, _ = shared_embedder().embed(texts)
        asked, _ = shared_embedder().embed([q.text for q in world.questions])
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


def _recall(hits: Sequence[bool]) -> dict[str, float]:
    return {
        "recall_at_5": _share(hits),
        "recall_at_5_lower": wilson_lower(sum(hits), len(hits)),
        "n": float(len(hits)),
    }


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
