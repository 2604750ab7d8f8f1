"""Keys of statements by a model: asked once, believed as far as they can be, kept once, undone, and gone with what they
are of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
import redis

from hotset import Client
from hotset.client.memory import Scope
from hotset.jobs import Priority, State
from hotset.memory import As, upkeep
from hotset.memory.keys import NO_LINE, STRANGE_SUBJECT
from hotset.memory.room import MemoryRoom
from hotset.memory.session import opened
from hotset.memory.setup import set_up
from hotset.store import downgrade
from hotset.store.migrate import MEMORY
from hotset_worker.upkeep.memory import MemoryUpkeep
from memory_keys import berth, claimed, finish, statements
from memory_kills import kill_one, nest
from memory_summaries import MARK, MONDAY, traces
from stack import Stack, eventually

HOUR = timedelta(hours=1)
#: Two of one property, which neither rules nor vectors tell for one.
LIES = "Kittiwake lies at C3."
TOWED = "Kittiwake was towed over to B12 by the tug."


def say(memory: Scope, *texts: str) -> list[UUID]:
    told = [memory.remember(text, at=MONDAY + i * HOUR) for i, text in enumerate(texts)]
    memory.client.consolidate()
    return told


def states(client: Client) -> list[tuple[str, str | None, int]]:
    return [(k["state"], k["reason"], k["keys"]) for k in client.memory_stats()["keys"]]


def extract_all(client: Client, line=berth) -> int:  # type: ignore[no-untyped-def]
    """Round after round until nothing waits; how many jobs were answered."""
    rounds = 0
    while client.extract_keys():
        rounds += finish(client, claimed(client), line)
    return rounds


def places(database: str) -> list[tuple[str, str, UUID | None, UUID | None, bool]]:
    with psycopg.connect(database) as connection:
        query = "SELECT text, ring, supersedes, superseded_by, valid_to IS NULL FROM memories ORDER BY valid_from"
        return connection.execute(query).fetchall()


def test_statements_of_one_key_follow_each_other_and_both_stand(client: Client, memory: Scope, database: str) -> None:
    first, second, other = say(memory, LIES, TOWED, "Gannet lies at A7.")
    before = places(database)
    assert client.extract_keys() == 1
    assert client.extract_keys() == 0
    (job,) = claimed(client)
    assert job.queue == "tinyllama" and client.job(job.id).view.priority is Priority.LOW
    assert statements(job) == {1: LIES, 2: TOWED, 3: "Gannet lies at A7."}
    finish(client, [job])
    assert client.extract_keys() == 1 and client.extract_keys() == 0
    assert states(client) == [("kept", None, 3)]
    assert [(ring, a, b, stands) for _, ring, a, b, stands in places(database)] == [
        ("core", None, second, True), ("core", first, None, True), ("core", None, None, True)]  # fmt: skip
    assert [m.id for m in memory.history(first)] == [first, second]
    found = memory.get(second)
    assert (found.subject, found.attribute, found.key_by) == ("kittiwake", "berth", "model")
    (hit,) = memory.search("Where does Gannet lie?", 1)
    assert hit == replace(memory.get(other), score=hit.score)
    assert {line.split(":")[0] for line in traces(database)} == set(), "what it answered is nowhere"
    between = memory.remember("Kittiwake was moored at E5 for the night.", at=MONDAY + HOUR / 2)
    extract_all(client)
    assert [m.id for m in memory.history(first)] == [first, between, second]
    memory.forget(between)
    assert [m.id for m in memory.history(first)] == [first, second]
    assert client.undo_keys("project:shop") == 3
    assert places(database) == before and client.memory_stats()["keys"] == []


def test_a_key_takes_the_place_of_what_rules_thought_probable_and_gives_it_back(
    client: Client, memory: Scope, database: str
) -> None:
    """Rules have the third probably follow the first; by the model the second does."""
    first, second, third = say(memory, LIES, TOWED, "Kittiwake had her hull painted.")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE memories SET superseded_by = %s WHERE id = %s", [third, first])
        connection.execute("UPDATE memories SET supersedes = %s WHERE id = %s", [first, third])
    before = places(database)

    def line(number: int, _: str) -> str:
        return f"{number} | Kittiwake | {'hull colour' if number == 3 else 'berth'}"

    extract_all(client, line)
    assert [row[2:] for row in places(database)] == [
        (None, second, True), (first, None, True), (first, None, True)]  # fmt: skip
    client.undo_keys()
    assert places(database) == before
    extract_all(client, line)
    memory.forget(third)
    client.undo_keys()
    assert [row[2:] for row in places(database)] == [(None, None, True)] * 2


def test_one_key_of_what_is_far_apart_links_nothing(client: Client, memory: Scope, database: str) -> None:
    say(memory, LIES, "Kittiwake had her hull painted.")
    before = [row[2:] for row in places(database)]
    extract_all(client)
    assert states(client) == [("kept", None, 2)] and [row[2:] for row in places(database)] == before


def test_what_is_not_to_be_believed_is_left_with_the_reason(client: Client, memory: Scope) -> None:
    say(memory, LIES, TOWED, "Gannet lies at A7.")
    extract_all(client, lambda number, _: ["", "1 | Nordlys | berth", "2 | Kittiwake | berth"][number % 3])
    assert states(client) == [("kept", None, 1), ("left", STRANGE_SUBJECT, 1), ("left", NO_LINE, 1)]
    assert client.extract_keys() == 0, "and nobody is asked again"


def test_a_known_key_is_told_with_the_next_statements(client: Client, memory: Scope) -> None:
    for i in range(21):
        memory.remember(f"Boat{i} lies at A{i}.", at=MONDAY + i * HOUR)
    assert client.extract_keys() == 1, "a scope has one job at a time"
    (job,) = claimed(client)
    assert len(statements(job)) == 20
    finish(client, [job], lambda number, text: f"{number} | {text.split()[0]} | mooring place")
    assert client.extract_keys() == 2
    (job,) = claimed(client)
    assert statements(job) == {1: "Boat20 lies at A20."} and "mooring place" in job.prompt


def test_only_what_has_waited_or_makes_a_job_full_is_asked_for_by_workers(client: Client, memory: Scope) -> None:
    from hotset.memory import extraction

    say(memory, LIES)
    tools = extraction.Keyer(client._store, client._intake)
    assert extraction.ask(tools, As("acme"), gather_s=600) == 0
    memory.remember_many([f"Boat{i} lies at A{i}." for i in range(20)])
    client.consolidate()
    assert extraction.ask(tools, As("acme"), gather_s=600) == 1


def test_what_fails_is_tried_three_times_and_left_with_its_reason(client: Client, memory: Scope, database: str) -> None:
    say(memory, LIES, TOWED)
    assert client.extract_keys() == 1
    for _ in range(3):
        assert finish(client, claimed(client), None) == 1
        assert client.extract_keys() == 0
    assert states(client) == [("left", "failed: Refused", 2)]
    assert not traces(database), "what the server said of it is not kept"


@pytest.mark.parametrize("when", ["queued", "running", "answered", "kept", "cold"])
def test_forgetting_takes_key_and_job_along_whenever(
    when: str, client: Client, memory: Scope, database: str, cache_url: str
) -> None:
    secret, rest = say(memory, f"The {MARK} boat lies at C3.", TOWED)
    client.extract_keys()
    running = [] if when == "queued" else claimed(client)
    if when not in ("queued", "running"):
        # The other statement gets a word of the secret one.
        finish(
            client, running, lambda number, text: f"{number} | {'Kittiwake' if number == 2 else MARK} | {MARK}s berth"
        )
    if when in ("kept", "cold"):
        assert client.extract_keys() == 1
        assert states(client) == [("kept", None, 2)]
    if when == "cold":
        client.demote()
    assert memory.forget(secret) == 1
    if when == "running":
        assert finish(client, running) == 0, "nobody waits for it any more"
    assert traces(database) == []
    with redis.Redis.from_url(cache_url) as cache:
        assert not [k for k in cache.scan_iter("hs:mem:*") if MARK.encode() in (cache.get(k) or b"")]
    assert [d.faults for d in client.memory_check() if d.faults] == []
    assert extract_all(client) == 1, "of the rest it is asked anew"
    assert [(k["state"], k["keys"]) for k in client.memory_stats()["keys"]] == [("kept", 1)]
    assert memory.get(rest).ring == "core"


def test_a_tenant_is_erased_with_what_is_asked_running_and_kept(
    client: Client, memory: Scope, database: str, cache_url: str
) -> None:
    say(memory, f"The {MARK} boat lies at C3.", f"The {MARK} boat was towed to B12.")
    extract_all(client, lambda number, _: f"{number} | {MARK} | berth")
    other = client.memory("project:other")
    say(other, f"The {MARK} boat lies at C3.")
    client.extract_keys()
    running = claimed(client)
    say(memory, f"The {MARK} ship lies at C3.")
    client.extract_keys()
    with redis.Redis.from_url(cache_url) as cache:
        MemoryRoom(client.engine, cache).erase(As("acme"))
    assert finish(client, running) == 0
    assert traces(database) == []
    with psycopg.connect(database) as connection:
        for table in ("memory_keys", "memory_key_jobs", "jobs WHERE finished_at IS NULL"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # type: ignore[call-overload]


def test_what_followed_a_copy_follows_the_one_that_it_was_merged_into(client: Client, memory: Scope) -> None:
    first = memory.remember(LIES, at=MONDAY)
    memory.remember_many([{"text": LIES, "at": MONDAY + HOUR}, {"text": TOWED, "at": MONDAY + 2 * HOUR}])
    with opened(client.engine, As("acme")) as session:
        session.connection.exec_driver_sql("UPDATE memories SET settled = true")
    extract_all(client)
    assert upkeep.consolidate(client.engine, As("acme")).merged == 1
    chain = [m.text for m in memory.history(first)]
    assert chain == [LIES, TOWED]
    client.undo_keys()
    assert [m.text for m in memory.history(first)] == [LIES]


def test_an_agent_sees_undoes_and_erases_keys_of_its_scopes_only(client: Client, memory: Scope) -> None:
    say(memory, LIES)
    client.extract_keys()
    (job,) = claimed(client)
    erase = "SELECT memory_erase_job(%s, 'me', 'because')"
    for agent, may in (("stranger", False), ("reader", False), ("writer", True)):
        if agent != "stranger":
            client.grant("project:shop", agent, write=may)
        with opened(client.engine, As("acme", agent=agent)) as session:
            seen = session.connection.exec_driver_sql("SELECT count(*) FROM memory_keys").scalar_one()
            assert session.connection.exec_driver_sql(erase, (job.id,)).scalar_one() is may
        assert seen == (0 if agent == "stranger" else 1)
    with opened(client.engine, As("intruder")) as session:
        assert session.connection.exec_driver_sql(erase, (job.id,)).scalar_one() is False
    assert client.job(job.id).view.state is State.CANCELLED


def test_on_tables_of_the_revision_before_all_but_keys_works(client: Client, memory: Scope, database: str) -> None:
    first, second = say(memory, LIES, TOWED)
    before = places(database)
    extract_all(client)
    downgrade(database, "memory_0002", tables=MEMORY)
    assert places(database) == before, "nothing that followed from them is left"
    memory.remember("Gannet lies at A7.")
    memory.remember("Gannet lies at A7.")
    client.consolidate()
    assert memory.search("Where does Gannet lie?") and memory.get(first).key_by == "rules"
    assert client.memory_stats()["keys"] == []
    assert memory.forget(second) == 1
    set_up(database)
    assert client.extract_keys() == 1
    assert MemoryRoom(client.engine, None).erase(As("acme")) > 0


def test_killed_at_any_moment_each_statement_is_asked_for_and_kept_once(client: Client, database: str) -> None:
    """As a worker's upkeep, killed and begun again while jobs are answered."""
    for n in range(4):
        memory = client.memory(f"project:{n}")
        memory.remember_many([{"text": f"Boat{i} lies at A{i}.", "at": MONDAY + i * HOUR} for i in range(40)])
    client.consolidate()
    with nest(client, "keys") as born, psycopg.connect(database, autocommit=True) as connection:
        in_the_middle = 0
        for i in range(8):
            in_the_middle += kill_one(born, 0.02 * i, connection, within_s=0.5)
            finish(client, claimed(client))
        extract_all(client)
        found = "SELECT state, count(*) FROM memory_keys GROUP BY 1"
        assert connection.execute(found).fetchall() == [("kept", 160)]
        jobs = "SELECT count(*), count(*) FILTER (WHERE prompt <> '') FROM jobs"
        assert connection.execute(jobs).fetchone() == (8, 0)
        assert connection.execute("SELECT count(*) FROM memory_key_jobs").fetchone() == (0,)
    assert in_the_middle > 0


def test_a_worker_asks_and_another_keeps(stack: Stack, client: Client, database: str, cache_url: str) -> None:
    """What its simulated model says is no key; that is left with its reason."""
    memory = client.memory("project:shop")
    memory.remember_many([f"Boat{i} lies at A{i}." for i in range(20)])
    client.consolidate()
    stack.env |= {"HOTSET_MEMORY_KEYS": "model", "HOTSET_TENANT": "acme"}
    stack.fleet().worker()

    def answered() -> bool:
        with psycopg.connect(database) as connection:
            return connection.execute("SELECT 1 FROM jobs WHERE state = 'succeeded'").fetchone() is not None

    eventually(answered, within_s=60, message=stack.log)
    with redis.Redis.from_url(cache_url) as cache:
        other = MemoryUpkeep("w", client.engine, cache, 1.0, 7, client._store, client._intake, False, keys=False)
        other.keep_keys()
        other.ask_for_keys()
    assert states(client) == [("left", NO_LINE, 20)]
    assert "lies at" not in stack.log(), "no text of a memory is in a log"
