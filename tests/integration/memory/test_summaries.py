"""Summaries of days, weeks and months: asked once, kept once, and gone with what they are made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from hotset import Client
from hotset.client.memory import Scope
from hotset.embedder import CachedEmbedder, shared_embedder
from hotset.errors import InvalidCatalogue
from hotset.jobs import Priority, State
from hotset.memory import As, searching, upkeep
from hotset.memory.periods import pieces
from hotset.memory.room import MemoryRoom
from hotset.memory.session import opened
from hotset.memory.setup import set_up
from hotset.memory.tiers import Hot
from hotset.settings import Settings
from hotset.store import downgrade
from hotset.store.migrate import MEMORY
from memory_kills import NEW, kill_one, nest
from memory_summaries import MARK, MONDAY, claimed, finish, tell, traces
from stack import Stack, eventually

DAY = timedelta(days=1)


def states(client: Client) -> list[tuple[str, str, str | None, int]]:
    return [(s["kind"], s["state"], s["reason"], s["summaries"]) for s in client.memory_stats()["summaries"]]


def summarise_all(client: Client, text: str = "They spoke of crates.") -> int:
    """Round after round until nothing is due; how many were kept."""
    rounds = 0
    while client.summarise():
        rounds += finish(client, claimed(client), text=text)
    return rounds


def test_a_day_that_is_over_is_asked_for_once_and_kept_once(client: Client, memory: Scope) -> None:
    told = tell(memory, 0, 6)
    tell(memory, 1, 2)
    memory.remember("There was talk of today.", said_by="assistant")
    assert client.summarise() == 1
    assert client.summarise() == 0
    (job,) = claimed(client)
    assert job.queue == "tinyllama" and job.prompt.count("There was talk of crate 0-") == 6
    assert client.job(job.id).view.priority is Priority.LOW
    finish(client, [job], text="On Monday they spoke of six crates.")
    assert client.summarise() == 2, "the day is kept, and its week asked for"
    (hit,) = memory.search("What was said of crates on Monday?", 5, tags=["summary"])
    assert (hit.ring, hit.text, hit.said_by) == ("summary", "On Monday they spoke of six crates.", "memory-summariser")
    assert hit.sources == tuple(told) and hit.source["memories"] == 6 and hit.source["job"] == str(job.id)
    assert hit.valid_from == MONDAY.replace(hour=0) + DAY
    assert memory.search("crates on Monday?", tags=["summary"], as_of=MONDAY) == []
    assert memory.get(hit.sources[0]).text == "There was talk of crate 0-0."
    (week,) = claimed(client)
    assert "On Monday they spoke of six crates." in week.prompt and "crate 1-1" in week.prompt
    assert "crate 0-0" not in week.prompt


def test_where_many_memories_fit_summaries_are_found_as_well(
    client: Client, memory: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tell(memory, 0, 6)
    summarise_all(client)
    few = memory.search("crates", 20, threshold=0.0)
    monkeypatch.setattr(searching, "EXACT_ROWS", 0)
    many = memory.search("crates", 20, threshold=0.0)
    assert [m.sources for m in many if m.ring == "summary"] == [tuple(told)]
    assert {m.id for m in many} == {m.id for m in few}


def test_days_become_weeks_and_weeks_a_month(client: Client, memory: Scope) -> None:
    for week in (0, 7):
        for day in (0, 2):
            tell(memory, week + day, 5)
    assert summarise_all(client) == 4 + 2 + 1
    assert sorted(states(client)) == [
        ("day", "stored", None, 4), ("month", "stored", None, 1), ("week", "stored", None, 2)]  # fmt: skip
    (month,) = memory.search("What was said of crates?", tags=["month"])
    assert month.source["memories"] == 20
    weeks = [memory.get(i) for i in month.sources]
    assert [len(w.sources) for w in weeks] == [2, 2]
    assert upkeep.consolidate(client.engine, As("acme")).merged == 0, "though their texts are alike"


def test_what_is_too_much_for_a_prompt_goes_into_several(client: Client, memory: Scope) -> None:
    texts = [f"Crate {i}: " + "the colour of the lid and the state of the nails " * 9 for i in range(70)]
    memory.remember_many([{"text": t, "said_by": "assistant", "at": MONDAY} for t in texts])
    client.consolidate()
    asked = client.summarise()
    assert asked > 1
    prompts = [job.prompt for job in claimed(client)]
    assert len(prompts) == asked
    assert max(pieces(p) for p in prompts) < 0.8 * 4096 - 200
    assert [sum(f"Crate {i}: " in p for p in prompts) for i in range(70)] == [1] * 70


def test_what_its_job_was_told_is_nowhere_but_in_the_memory(client: Client, memory: Scope, database: str) -> None:
    tell(memory, 0, 5, f"{MARK} ")
    client.summarise()
    finish(client, claimed(client))
    client.summarise()
    assert len(traces(database)) == 6
    assert {line.split(":")[0] for line in traces(database)} == {"memories"}


@pytest.mark.parametrize("when", ["queued", "running", "answered", "kept", "a week of it kept", "cold"])
def test_forgetting_a_source_takes_the_summary_along_whenever(
    when: str, client: Client, memory: Scope, database: str, cache_url: str
) -> None:
    (secret,) = tell(memory, 0, 1, f"{MARK} ")
    rest = tell(memory, 0, 6)
    tell(memory, 1, 5)
    client.summarise()
    running = [] if when == "queued" else claimed(client)
    if when not in ("queued", "running"):
        assert finish(client, running) == 2
    if when not in ("queued", "running", "answered"):
        client.summarise()
    if when == "a week of it kept":
        assert finish(client, claimed(client)) == 1
        client.summarise()
    if when == "cold":
        client.demote()
        assert any(MARK in m.text for m in memory.search("crates?", threshold=0.0, tags=["summary"]))
    with_it = {"kept": 2, "a week of it kept": 3, "cold": 2}
    assert memory.forget(secret) == with_it.get(when, 1)
    if when == "running":
        assert finish(client, running) == 1, "that of the other day"
    assert traces(database) == []
    assert [d.faults for d in client.memory_check() if d.faults] == []
    with redis.Redis.from_url(cache_url) as cache:
        assert not [k for k in cache.scan_iter("hs:mem:*") if MARK.encode() in (cache.get(k) or b"")]
    finish(client, claimed(client))
    summarise_all(client)
    days = memory.search("crates?", 9, tags=["day"], threshold=0.0)
    assert sorted(len(m.sources) for m in days) == [5, 6], "made anew of the rest"
    assert tuple(rest) in [m.sources for m in days]


def test_a_summary_that_is_forgotten_itself_is_not_made_anew(client: Client, memory: Scope) -> None:
    tell(memory, 0, 6)
    client.summarise()
    finish(client, claimed(client))
    client.summarise()
    (hit,) = memory.search("crates", tags=["summary"], threshold=0.0)
    assert memory.forget(hit.id) == 1
    assert client.summarise() == 0
    assert states(client) == [("day", "left", "forgotten", 1)]


def test_age_takes_the_sources_and_leaves_the_summary(client: Client, memory: Scope, database: str) -> None:
    tell(memory, 0, 6)
    client.summarise()
    finish(client, claimed(client))
    client.summarise()
    _make_old(database)
    embedder = CachedEmbedder(shared_embedder(), None)
    assert upkeep.clean(client.engine, As("acme"), embedder, Hot(None), keep_days=7) == 6
    (hit,) = memory.search("What was said of crates?")
    assert (hit.ring, hit.sources, hit.source["memories"]) == ("summary", (), 6)
    assert client.summarise() == 0


def test_a_source_that_age_has_left_takes_a_week_along_whose_day_is_gone(
    client: Client, memory: Scope, database: str
) -> None:
    text = f"There was talk of {MARK} in the yard."
    pinned = memory.remember(text, said_by="assistant", at=MONDAY, pinned=True)
    tell(memory, 0, 5)
    tell(memory, 1, 5)
    assert summarise_all(client) == 3
    _make_old(database)
    embedder = CachedEmbedder(shared_embedder(), None)
    gone = upkeep.clean(client.engine, As("acme"), embedder, Hot(None), keep_days=7)
    assert gone == 10 + 2, "and the days' summaries, which are in the week's"
    assert len(traces(database)) == 2
    assert memory.forget(pinned) == 2
    assert traces(database) == []


def _make_old(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE memories SET recorded_at = recorded_at - interval '8 days', used_at = recorded_at")
        connection.execute("UPDATE memories SET used_at = used_at - interval '8 days'")


def test_what_fails_is_tried_three_times_and_left_with_its_reason(client: Client, memory: Scope, database: str) -> None:
    tell(memory, 0, 5)
    for _ in range(3):
        assert client.summarise() <= 1
        assert finish(client, claimed(client), text=None) == 1
    assert client.summarise() == 0 and client.summarise() == 0
    assert states(client) == [("day", "left", "failed: Refused", 1)]
    assert not traces(database), "what the server said of it is not kept"


def test_an_empty_answer_is_none_and_who_cancels_the_job_wants_none(client: Client, memory: Scope) -> None:
    tell(memory, 0, 5)
    client.summarise()
    finish(client, claimed(client), text="  ")
    client.summarise()
    with client.engine.connect() as connection:
        job = connection.exec_driver_sql("SELECT job FROM memory_summaries").scalar_one()
    assert client.cancel(job)
    assert client.summarise() == 0
    assert states(client) == [("day", "left", "cancelled", 1)]


def test_a_tenant_is_erased_with_what_is_asked_running_and_kept(
    client: Client, memory: Scope, database: str, cache_url: str
) -> None:
    tell(memory, 0, 5, f"{MARK} ")
    client.summarise()
    finish(client, claimed(client))
    client.summarise()
    tell(memory, 8, 5, f"{MARK} ")
    client.summarise()
    running = claimed(client)
    tell(memory, 9, 5, f"{MARK} ")
    client.summarise()
    with redis.Redis.from_url(cache_url) as cache:
        MemoryRoom(client.engine, cache).erase(As("acme"))
    assert finish(client, running) == 0
    assert traces(database) == []
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM memory_summaries").fetchone() == (0,)
        open_jobs = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
        assert connection.execute(open_jobs).fetchone() == (0,)


def test_when_a_source_is_merged_into_an_older_copy_that_one_is_linked(client: Client, memory: Scope) -> None:
    copy = memory.remember("There was talk of crate 0-0.", said_by="assistant", at=MONDAY - DAY)
    told = tell(memory, 0, 5)
    client.summarise()
    finish(client, claimed(client))
    client.summarise()
    assert upkeep.consolidate(client.engine, As("acme")).merged == 1
    (hit,) = memory.search("crates", tags=["summary"], threshold=0.0)
    assert hit.sources == (copy, *told[1:])
    memory.forget(copy)
    assert memory.search("crates", tags=["summary"], threshold=0.0) == []


def test_an_agent_sees_and_erases_summaries_of_its_scopes_only(client: Client, memory: Scope) -> None:
    tell(memory, 0, 5)
    client.summarise()
    (job,) = claimed(client)
    for agent, may in (("stranger", False), ("reader", False), ("writer", True)):
        if agent != "stranger":
            client.grant("project:shop", agent, write=may)
        with opened(client.engine, As("acme", agent=agent)) as session:
            seen = session.connection.exec_driver_sql("SELECT count(*) FROM memory_sources").scalar_one()
            erased = "SELECT memory_erase_job(%s, 'me', 'because')"
            assert session.connection.exec_driver_sql(erased, (job.id,)).scalar_one() is may
        assert seen == (0 if agent == "stranger" else 5)
    with opened(client.engine, As("intruder")) as session:
        assert session.connection.exec_driver_sql(erased, (job.id,)).scalar_one() is False
    other = client.submit("log-aggregator-loki", "x")
    with opened(client.engine, As("acme")) as session:
        assert session.connection.exec_driver_sql(erased, (other.id,)).scalar_one() is False
    assert client.job(other.id).view.state is State.QUEUED


def test_on_tables_of_the_revision_before_all_but_summaries_works(client: Client, memory: Scope, database: str) -> None:
    downgrade(database, "memory_0001", tables=MEMORY)
    told = [memory.remember(f"There was talk of crate {i}.") for i in range(3)]
    memory.remember("There was talk of crate 1.")
    client.consolidate()
    client.demote()
    assert memory.search("crate 2?", threshold=0.0)[0].sources == ()
    assert memory.forget(told[0]) == 1
    assert client.memory_stats()["summaries"] == []
    assert MemoryRoom(client.engine, None).erase(As("acme")) > 0
    set_up(database)
    tell(memory, 0, 5)
    assert client.summarise() == 1


def test_a_fleet_that_cannot_run_it_is_told(settings: Settings, memory: Scope, tmp_path: Path) -> None:
    tell(memory, 0, 5)
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "gpus:\n  - {name: gpu0, vram_mb: 4000}\nmodels:\n  m: {size_mb: 800, load_s: 1}\n"
        "queues:\n  q: {model: m, tier: complex, deadline_s: 30, run_s: 1}\n"
    )
    asking = Client(settings=replace(settings, fleet=fleet), tenant="acme")
    with asking as other, pytest.raises(InvalidCatalogue, match="light"):
        other.summarise()


def test_killed_at_any_moment_each_day_is_asked_for_and_kept_once(client: Client, database: str) -> None:
    """As a worker's upkeep, killed and begun again while jobs are answered."""
    scopes = [client.memory(f"project:{n}") for n in range(4)]
    for scope in scopes:
        tell(scope, 0, NEW)
        tell(scope, 21, NEW)
    with nest(client, "summaries") as born, psycopg.connect(database, autocommit=True) as connection:
        in_the_middle = 0
        for i in range(12):
            in_the_middle += kill_one(born, 0.03 * i, connection, within_s=0.5)
            finish(client, claimed(client))
        summarise_all(client)
        days = (
            "SELECT state, count(*), count(DISTINCT memory), count(DISTINCT (scope, starts_at)) FROM memory_summaries"
        )
        assert connection.execute(f"{days} WHERE kind = 'day' GROUP BY 1").fetchall() == [("stored", 8, 8, 8)]
        kept = "SELECT count(*) FROM memories WHERE ring = 'summary'"
        rows = "SELECT count(*) FROM memory_summaries"
        jobs = "SELECT count(*), count(*) FILTER (WHERE prompt <> '') FROM jobs"
        total = connection.execute(rows).fetchone()
        assert total == connection.execute(kept).fetchone()
        assert connection.execute(jobs).fetchone() == (total[0], 0)
    assert in_the_middle > 0


def test_a_worker_asks_runs_dies_and_its_successor_keeps(stack: Stack, client: Client, database: str) -> None:
    memory = client.memory("project:shop")
    told = tell(memory, 0, 6)
    stack.env |= {"HOTSET_MEMORY_SUMMARIES": "true", "HOTSET_TENANT": "acme"}
    first = stack.fleet().worker()

    def answered() -> bool:
        with psycopg.connect(database) as connection:
            return connection.execute("SELECT 1 FROM jobs WHERE state = 'succeeded'").fetchone() is not None

    eventually(answered, within_s=60, message=stack.log)
    stack.kill(first)
    stack.worker()
    eventually(lambda: ("day", "stored", None, 1) in states(client), within_s=60, message=stack.log)
    hits = memory.search("crates", tags=["summary"], threshold=0.0)
    assert [h.sources for h in hits] == [tuple(told)] and hits[0].source["simulated"] is True
    assert "There was talk" not in stack.log(), "no text of a memory is in a log"
