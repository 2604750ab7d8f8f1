"""What is true now, what was, and what answers a question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from hotset import Client
from hotset.client.memory import Scope
from hotset.errors import InvalidMemory, UnknownJob
from hotset.jobs import NewJob, Outcome, State

PAST = datetime(2026, 1, 1, tzinfo=UTC)


def texts(found: list) -> list[str]:
    return [m.text for m in found]


def test_the_newest_version_comes_first_and_the_old_one_is_over(memory: Scope) -> None:
    old = memory.remember("Acme's refund window is 14 days.", at=PAST)
    new = memory.remember("Acme's refund window is now 30 days.", at=PAST + timedelta(days=9))
    memory.remember("Acme's office is in Lyon.", at=PAST + timedelta(days=10))
    found = memory.search("How long is Acme's refund window?")
    assert found[0].id == new
    assert found[0].supersedes == old
    assert memory.get(old).valid_to == PAST + timedelta(days=9)
    assert memory.search("Acme refund window?", as_of=PAST + timedelta(days=1))[0].id == old
    assert [m.id for m in memory.history("refund window of Acme")] == [old, new]


def test_a_sentence_that_comes_late_is_put_where_it_belongs(memory: Scope) -> None:
    first = memory.remember("Maria lives in Porto.", at=PAST)
    last = memory.remember("Maria has moved to Oslo.", at=PAST + timedelta(days=20))
    between = memory.remember("Maria has moved to Lyon.", at=PAST + timedelta(days=10))
    assert memory.search("Where does Maria live?")[0].id == last
    assert memory.search("Where does Maria live?", as_of=PAST + timedelta(days=15))[0].id == between
    assert memory.search("Where does Maria live?", as_of=PAST + timedelta(days=5))[0].id == first


def test_nothing_relevant_gives_nothing(memory: Scope) -> None:
    memory.remember("Acme's refund window is 14 days.")
    assert memory.search("Who won the football match in Rome?") == []
    assert len(memory.search("Who won the football match in Rome?", threshold=0.0)) == 1


def test_questions_without_names_are_answered_and_what_nobody_said_is_not(memory: Scope) -> None:
    told = {
        "how long can I return things?": "Refunds are possible within 14 days.",
        "which database do we use?": "We use Postgres for orders.",
        "When do we deploy?": "Deployments happen on Thursdays.",
        "where is our office?": "Our office is in Lisbon.",
        "Who leads the team?": "The team lead is Ana.",
        "when must invoices be paid?": "Invoices are due after 30 days.",
        "what language does the customer want?": "The customer wants answers in German.",
        "When is my sister's birthday?": "My sister's birthday is on May 4.",
    }
    memory.remember_many([*told.values(), "The API key is rotated every 90 days.", "I prefer dark mode."])
    assert {ask: memory.search(ask)[0].text for ask in told} == told
    unsaid = ("what is the wifi password?", "how many employees are there?", "Where is the car parked?")
    assert [memory.search(ask) for ask in unsaid] == [[], [], []]


def test_filters_and_limits(memory: Scope) -> None:
    memory.remember("Acme likes blue boxes.", tags=("style",), said_by="assistant", at=PAST)
    memory.remember("Acme likes red boxes.", at=PAST + timedelta(days=5))
    ask = "What boxes does Acme like?"
    assert texts(memory.search(ask, tags=("style",))) == ["Acme likes blue boxes."]
    assert texts(memory.search(ask, said_by="user")) == ["Acme likes red boxes."]
    assert texts(memory.search(ask, until=PAST + timedelta(days=1))) == ["Acme likes blue boxes."]
    assert texts(memory.search(ask, texts=False)) == ["", ""]
    for call in (
        lambda: memory.remember(""),
        lambda: memory.remember("x" * 20_001),
        lambda: memory.remember("x", importance=2),
        lambda: memory.search("x", k=0),
        lambda: memory.search("x", as_of=datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda: memory.forget("nothing"),
        lambda: memory.client.memory("nowhere"),
    ):
        with pytest.raises(InvalidMemory):
            call()


def test_consolidation_finds_changes_merges_copies_and_only_proposes_near_ones(client: Client, memory: Scope) -> None:
    days = [PAST + timedelta(days=i) for i in range(5)]
    rows = [
        {"text": "Acme's refund window is 14 days.", "at": days[0], "tags": ("a",)},
        {"text": "Acme's refund window is 14 days.", "at": days[1], "tags": ("b",)},
        {"text": "Acme's refund window is 30 days now.", "at": days[2]},
        {"text": "Globex ships only to Norway and Sweden.", "at": days[3]},
        {"text": "Globex ships only to Norway and to Sweden.", "at": days[4]},
    ]
    memory.remember_many(rows)
    done = client.consolidate()
    assert (done.settled, done.merged) == (5, 1)
    assert memory.search("Acme's refund window?")[0].text.endswith("30 days now.")
    versions = memory.history("refund window of Acme")
    assert (versions[0].text, versions[0].tags) == ("Acme's refund window is 14 days.", ("a", "b"))
    assert {m.ring for m in versions} == {"core"}
    assert len(memory.search("Where does Globex ship to?")) >= 2
    assert client.consolidate().settled == 0


def test_recall_puts_what_is_known_before_the_prompt(client: Client) -> None:
    client.memory("agent:qa-team-lead").remember("Acme's refund window is 14 days.")
    prompt = client.recall("qa-team-lead", "What is Acme's refund window?", 5)
    assert prompt.startswith("What is remembered:\n- Acme's refund window is 14 days.")
    assert prompt.endswith("\n\nWhat is Acme's refund window?")
    assert client.recall("qa-team-lead", "Sing a song about trains.", 5) == "Sing a song about trains."


def test_an_answer_is_remembered_as_its_agents_since_its_end_with_its_job(client: Client, memory: Scope) -> None:
    store = client._store
    job, waiting = (
        NewJob(id=uuid7(), tenant="acme", agent="qa-team-lead", queue="qwen", prompt="How fast does Acme ship?")
        for _ in range(2)
    )
    store.accept([job, waiting], actor="t")
    assert store.claim(job.id, worker="w", lease_s=60) is not None
    assert store.finish(job.id, 1, Outcome(State.SUCCEEDED, text="Acme ships within three days."), worker="w")
    kept = memory.remember_answer(job.id, importance=0.9, tags=["shipping"])
    (found,) = memory.search("How fast does Acme ship?", said_by="qa-team-lead", tags=["shipping"])
    assert (found.id, found.text) == (kept, "Acme ships within three days.")
    assert found.source == {"job": str(job.id), "agent": "qa-team-lead"}
    assert found.valid_from == client.job(job.id).view.finished_at
    with pytest.raises(InvalidMemory, match="no answer to remember: it is queued"):
        memory.remember_answer(waiting.id)
    with pytest.raises(UnknownJob):
        memory.remember_answer(uuid7())


def test_ids_are_uuids(memory: Scope) -> None:
    assert isinstance(memory.remember("Acme pays in advance."), UUID)
