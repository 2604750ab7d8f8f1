"""Encryption at work: ciphertext in every table, words for who has a key, and readable errors for who has not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine
from typer.testing import CliRunner, Result
from uuid_utils.compat import uuid7

import hotset
from auditor import conserved
from hotset.agents import load_registry
from hotset.cli.doctor.database import check_database
from hotset.cli.doctor.world import World
from hotset.cli.main import app
from hotset.errors import CannotDecrypt, IdempotencyConflict, InvalidMessage, JobFailed
from hotset.fleet_file import classic_fleet
from hotset.jobs import NewJob, Outcome, State
from hotset.messaging import MessageStore, NewMessage, Wanted, new_message
from hotset.modelserver.bodies import Ask
from hotset.modelserver.generate import Generator
from hotset.store import Cipher, JobStore, erasure, flows, seals
from hotset.store.cipher import ENCRYPTED
from stack import Stack, eventually

LIGHT, TO = "log-aggregator-loki", "qa-team-lead"
SECRET = "my-secret-words"
OLD, KEY, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@hotset.agent("secret-keeper", tier="light", system=f"{SECRET} of the agent")
def keeper(asked: str) -> str:
    return asked


@pytest.fixture(scope="module")
def heard() -> Iterator[list[Ask]]:
    """What the model server is asked, in words: it runs in this process."""
    found: list[Ask] = []
    lines = Generator.lines

    def listening(self: Generator, ask: Ask) -> Any:
        found.append(ask)
        return lines(self, ask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Generator, "lines", listening)
        yield found


@pytest.fixture(scope="module")
def served(module_stack: Stack, heard: list[Ask]) -> Stack:
    module_stack.env["HOTSET_ENCRYPTION_KEYS"] = KEY
    module_stack.fleet().worker()
    return module_stack


def everywhere(engine: Engine) -> str:
    """All that Postgres holds of what was said, as text."""
    query = "SELECT string_agg(t::text, ' ') FROM (SELECT to_jsonb({0}) AS t FROM {0}) AS rows"
    tables = ("jobs", "results", "messages", "message_keys", "flows", "audit")
    with engine.connect() as connection:
        return " ".join(connection.exec_driver_sql(query.format(name)).scalar_one() or "" for name in tables)


def times(heard: list[Ask], said: str) -> int:
    return sum(said in ask.text for ask in heard)


def scalar(engine: Engine, query: str, *parameters: object) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query, parameters).scalar_one()


def succeed(store: JobStore, job: Any, text: str = f"{SECRET} said") -> None:
    attempt = store.claim(job, worker="w", lease_s=30)
    assert attempt is not None
    assert store.finish(job, attempt.number, Outcome(State.SUCCEEDED, text=text, thinking=text, model="m"), worker="w")


def new(prompt: str = SECRET, **changes: Any) -> NewJob:
    return NewJob(**{"id": uuid7(), "agent": LIGHT, "queue": "tinyllama", "prompt": prompt, **changes})


# ---- a worker --------------------------------------------------------------------------------------------------


def test_the_model_hears_words_and_the_tables_hold_none(
    client: hotset.Client, served_engine: Engine, heard: list[Ask]
) -> None:
    job = client.submit(keeper, f"{SECRET} 1", send_to=TO, stream=True, idempotency_key="once")
    events = list(job.stream(timeout=120))
    result = job.result(timeout=120)
    assert "".join(e.text for e in events) == result.text and events[-1].result == result
    assert client.submit(keeper, f"{SECRET} 1", send_to=TO, stream=True, idempotency_key="once") == job
    with pytest.raises(IdempotencyConflict):
        client.submit(keeper, f"{SECRET} 2", idempotency_key="once")
    asked = next(ask for ask in heard if f"{SECRET} 1" in ask.text)
    assert f"{SECRET} of the agent" in asked.text

    first = client.submit(LIGHT, f"{SECRET} 3")
    run = client.submit(hotset.chain((LIGHT, f"{SECRET} 4"), (LIGHT, f"{SECRET} goes on with <{{prev}}>")))
    assert run.result(timeout=120)
    said = run.job("1").result().text
    assert times(heard, f"{SECRET} goes on with <{said}>") == 1
    again = first.result(timeout=120) and first.retry()
    assert again.result(timeout=120)
    assert times(heard, f"{SECRET} 3") == 2

    client.send(TO, {"words": SECRET}, from_="system-architect", key="k")
    client.subscribe(TO, "news")
    assert client.publish("news", [SECRET]) == 1
    (answer,) = [msg for msg in client.inbox(TO, timeout=0) if msg.job == job.id]
    assert answer.body["text"] == result.text and answer.body["state"] == "succeeded"

    kept = everywhere(served_engine)
    words = [said, result.text, again.result().text]
    assert not [text for text in (SECRET, *words) if text and json.dumps(text)[1:-1] in kept]
    for column in ("prompt FROM jobs", "text FROM results"):
        assert str(scalar(served_engine, f"SELECT {column} LIMIT 1")).startswith(ENCRYPTED)
    assert "secret-keeper" in kept, "metadata and names stay readable"


def test_messages_of_people_are_read_as_they_were_sent(client: hotset.Client, served_engine: Engine) -> None:
    sent = client.send("keeper-of-minutes", {"words": SECRET, "deep": [1, None]}, from_="a", key="k1")
    assert client.send("keeper-of-minutes", {"words": SECRET, "deep": [1, None]}, from_="a", key="k1") == sent
    with pytest.raises(IdempotencyConflict):
        client.send("keeper-of-minutes", "else", from_="a", key="k1")
    assert client.message(sent).body == {"words": SECRET, "deep": [1, None]}
    (msg,) = client.inbox("keeper-of-minutes", timeout=0)
    assert msg.body == {"words": SECRET, "deep": [1, None]}
    assert SECRET not in everywhere(served_engine)


def test_a_plain_producers_job_is_encrypted_once_it_is_accepted(
    served: Stack, client: hotset.Client, served_engine: Engine, heard: list[Ask]
) -> None:
    elsewhere = Celery("elsewhere", broker=served.env["HOTSET_BROKER_URL"], backend=None, set_as_current=False)
    elsewhere.conf.task_default_exchange = ""
    after = elsewhere.signature("hotset.run", args=(LIGHT, f"{SECRET} linked"), queue="tinyllama", immutable=True)
    kwargs = {"agent": LIGHT, "prompt": f"{SECRET} plain"}
    elsewhere.send_task("hotset.run", kwargs=kwargs, queue="tinyllama", link=after)
    eventually(lambda: times(heard, f"{SECRET} plain") == 1 == times(heard, f"{SECRET} linked"), within_s=30)
    elsewhere.close()
    assert SECRET not in everywhere(served_engine), "nor what Celery shall call with the answer"


def test_a_worker_without_the_key_fails_the_job_and_says_why(
    served: Stack, client: hotset.Client, served_engine: Engine, heard: list[Ask]
) -> None:
    theirs = served.client(encryption_keys=OTHER)
    before = len(heard)
    job = theirs.submit(LIGHT, f"{SECRET} under another key", max_retries=3, stream=True)
    with pytest.raises(JobFailed, match=rf"The prompt of job {job.id} cannot be decrypted.*ENCRYPTION_KEYS"):
        job.result(timeout=120)
    assert job.view.error_kind == "CannotDecrypt" and job.view.failures == 1, "it is not tried again"
    assert not [ask for ask in heard[before:] if "hotset-encrypted" in ask.text or SECRET in ask.text]
    assert KEY not in served.log() and OTHER not in served.log() and SECRET not in served.log()

    # A step that follows an answer which this worker cannot read.
    run = theirs.submit(hotset.chain((LIGHT, "a"), (LIGHT, "{prev}")))
    assert run.job("1").error is None
    eventually(lambda: run.job("1").view.state is State.FAILED, within_s=30)
    assert run.job("2").view.error_kind == "DependencyFailed"


def test_who_lacks_the_key_gets_an_error_for_that_result_and_the_others_as_ever(
    served: Stack, client: hotset.Client
) -> None:
    known = served.client(encryption_keys=f"{OTHER},{KEY}")
    jobs = [client.submit(LIGHT, f"{SECRET} {n}") for n in range(2)]
    texts = [job.result(timeout=120).text for job in jobs]
    assert [known.job(job.id).result(timeout=60).text for job in jobs] == texts, "a key behind a new one still reads"

    blind = served.client(encryption_keys=OTHER)
    job = blind.job(jobs[0].id)
    with pytest.raises(CannotDecrypt, match=f"The result of job {jobs[0].id} cannot"):
        job.result(timeout=60)
    assert job.view.state is State.SUCCEEDED and job.view.result is None and "ENCRYPTION_KEYS" in (job.error or "")
    assert [e.kind for e in job.stream(timeout=60)][-1] == "done"
    assert {str(view.id) for view in blind.jobs(limit=50)} >= {job.id for job in jobs}


def test_the_books_are_whole(served: Stack, client: hotset.Client, served_engine: Engine) -> None:
    assert client.submit(LIGHT, SECRET).result(timeout=120)
    eventually(lambda: not [j for j in client.jobs(limit=500) if not j.state.terminal], within_s=30)
    seals.seal(served_engine, by="test")
    conserved(served.env["HOTSET_DATABASE_URL"])


# ---- command line ----------------------------------------------------------------------------------------------


def command_line(patch: pytest.MonkeyPatch, env: dict[str, str], *words: str) -> Result:
    with patch.context() as here:
        for name, value in env.items():
            here.setenv(name, value)
        return CliRunner().invoke(app, list(words))


def test_the_command_line_shows_words_to_who_has_the_key(
    served: Stack, client: hotset.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit(LIGHT, SECRET)
    text = job.result(timeout=120).text
    told = client.send("command-line", SECRET)
    blind = {**served.env, "HOTSET_ENCRYPTION_KEYS": OTHER}
    for words in (("jobs", "show", job.id), ("messages", "show", told), ("messages", "show", told, "--json")):
        shown = command_line(monkeypatch, served.env, *words)
        assert shown.exit_code == 0 and (text if job.id in words else SECRET) in shown.output
        shown = command_line(monkeypatch, blind, *words)
        assert shown.exit_code == 0 and "cannot be decrypted" in shown.output and SECRET not in shown.output
    left = command_line(monkeypatch, blind, "messages", "read", "command-line", "--limit", "2")
    assert left.exit_code == 1 and f"Message {told} cannot be decrypted" in left.output
    assert client.message(told).state == "leased", "it is there for who has the key"

    shown = command_line(monkeypatch, served.env, "config", "--json")
    assert json.loads(shown.stdout)["encryption_keys"] == "**********"
    assert KEY not in shown.output


def test_a_wrong_key_stops_the_command_line_with_the_way_to_make_one(served: Stack) -> None:
    env = {**served.env, "HOTSET_ENCRYPTION_KEYS": "hunter2hunter2"}
    command = [sys.executable, "-m", "hotset.cli", "jobs", "list"]
    ran = subprocess.run(command, env=env, cwd=served.folder, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2 and "Fernet.generate_key" in ran.stderr and "hunter2" not in ran.stderr + ran.stdout


def finding(url: str, keys: str | None) -> tuple[str, str]:
    fleet = classic_fleet()
    settings = replace(
        hotset.load_settings({"HOTSET_DATABASE_URL": url}), encryption_keys=None if keys is None else SecretStr(keys)
    )
    world = World(settings, fleet, load_registry(fleet, None), 5.0, True, False)
    found = next(f for f in check_database(world) if f.name == "database.encryption")
    for key in (OLD, KEY, OTHER):
        assert key not in found.found + found.remedy
    return str(found.status), found.found


def test_the_doctor_tries_the_keys(database: str, engine: Engine) -> None:
    assert finding(database, None)[0] == "skipped"
    JobStore(engine).accept([new()], actor="t")
    assert finding(database, None)[0] == "skipped"
    assert finding(database, KEY) == ("ok", "1 key; of the newest 1,000 jobs none is encrypted yet")
    job = new()
    JobStore(engine, cipher=Cipher(KEY)).accept([job], actor="t")
    JobStore(engine).accept([new()], actor="t")
    assert finding(database, f"{OTHER},{KEY}") == ("ok", f"2 keys, and what is encrypted opens (job {job.id})")
    for keys in (None, OTHER):
        status, found = finding(database, keys)
        assert status == "failed" and f"job {job.id}" in found
    assert finding(database, "hunter2") == ("failed", "encryption_keys: it is no Fernet key.")


# ---- tables ----------------------------------------------------------------------------------------------------


def test_keys_may_come_later_and_be_changed(engine: Engine) -> None:
    """What was asked under a key of idempotency is the same, whatever encrypted it."""
    ages = [JobStore(engine, cipher=Cipher(*keys)) for keys in ((), (OLD,), (KEY, OLD))]
    first: dict[str, Any] = {}
    for age, store in enumerate(ages):
        first[f"k{age}"] = store.accept([new(f"{SECRET} {age}", idempotency_key=f"k{age}")], actor="t")[0].id
        step = new(f"{SECRET} f{age}", flow=uuid7(), step=1)
        flow = flows.NewFlow(step.flow, "default", 1, f"f{age}", (step,))  # type: ignore[arg-type]
        first[f"f{age}"], accepted = flows.accept(store, flow, actor="t")
        assert len(accepted) == 1
    for store in ages[2:]:
        for age in range(3):
            again = new(f"{SECRET} {age}", idempotency_key=f"k{age}")
            assert store.accept([again], actor="t")[0].id == first[f"k{age}"]
            with pytest.raises(IdempotencyConflict):
                store.accept([replace(again, prompt="else")], actor="t")
            step = new(f"{SECRET} f{age}", flow=uuid7(), step=1)
            flow = flows.NewFlow(step.flow, "default", 1, f"f{age}", (step,))  # type: ignore[arg-type]
            assert flows.accept(store, flow, actor="t") == (first[f"f{age}"], [])
    newest = ages[-1]
    for name, job in first.items():
        if name.startswith("k"):
            attempt = newest.claim(job, worker="w", lease_s=30)
            assert attempt is not None and attempt.prompt == f"{SECRET} {name[1:]}" and attempt.unreadable is None
    with pytest.raises(IdempotencyConflict):
        # The oldest key was thrown away before its rows were.
        JobStore(engine, cipher=Cipher(KEY)).accept([new(f"{SECRET} 1", idempotency_key="k1")], actor="t")


def test_a_replay_takes_the_ciphertext_along_and_an_erasure_leaves_nothing(engine: Engine) -> None:
    store = JobStore(engine, cipher=Cipher(KEY))
    job = new(spec={"agent": {"system": SECRET}}, send_to=TO)
    store.accept([job], actor="t")
    succeed(store, job.id)
    (again,) = flows.replay(store, tenant="default", actor="t", job=job.id).jobs
    attempt = store.claim(again, worker="w", lease_s=30)
    assert attempt is not None and (attempt.prompt, attempt.spec) == (SECRET, job.spec)
    assert store.finish(again, attempt.number, Outcome(State.CANCELLED), worker="w")
    assert SECRET not in everywhere(engine) and everywhere(engine).count(ENCRYPTED) == 7
    assert erasure.erase(engine, tenant="default", actor="t") == 2
    assert ENCRYPTED not in everywhere(engine)
    view = store.get([job.id])[job.id]
    assert view.result is not None and (view.result.text, view.error) == ("", None)


def test_texts_that_look_like_ciphertext_are_texts(engine: Engine) -> None:
    for store in (JobStore(engine), JobStore(engine, cipher=Cipher(KEY))):
        for text in (f"{ENCRYPTED}1:gAAAA", "hotset-encrypted:0:x"):
            job = new(text, send_to=TO)
            store.accept([job], actor="t")
            attempt = store.claim(job.id, worker="w", lease_s=30)
            assert attempt is not None and attempt.prompt == text
            outcome = Outcome(State.SUCCEEDED, text=text, model="m")
            assert store.finish(job.id, attempt.number, outcome, worker="w")
            result = store.get([job.id])[job.id].result
            assert result is not None and result.text == text
            message = MessageStore(engine, tenant="default", actor="t", cipher=store.cipher).get(job.id)
            assert message is not None and message.body["text"] == text


def test_a_very_long_answer_is_cut_and_its_beginning_can_be_read(engine: Engine) -> None:
    cipher = Cipher(KEY)
    store, messages = JobStore(engine, cipher=cipher), MessageStore(engine, tenant="default", actor="t", cipher=cipher)
    for text in ("ab" * 150_000, "\U0001f600" * 40_000, "ä" * 20_000):
        job = new(send_to=TO)
        store.accept([job], actor="t")
        succeed(store, job.id, text)
        found = messages.get(job.id)
        assert found is not None and text.startswith(found.body["text"]) and len(found.body["text"]) >= 16_000
        assert found.body.get("cut") is (True if found.body["text"] != text else None)
        result = store.get([job.id])[job.id].result
        assert result is not None and result.text == text


def test_a_message_without_its_key_is_an_error_of_its_own_and_costs_no_other(engine: Engine) -> None:
    blind = MessageStore(engine, tenant="default", actor="t", cipher=Cipher(OTHER))
    seeing = MessageStore(engine, tenant="default", actor="t", cipher=Cipher(OTHER, KEY))

    def message(sender: str) -> NewMessage:
        said = {"from_": sender, "topic": None, "key": None, "job": None, "max_deliveries": 5, "max_bytes": 10_000}
        return new_message(TO, {"from": sender}, **said)  # type: ignore[arg-type]

    (mine,) = blind.send([message("a")])
    (theirs,) = MessageStore(engine, tenant="default", actor="t", cipher=Cipher(KEY)).send([message("b")])
    (plain,) = MessageStore(engine, tenant="default", actor="t").send([message("c")])
    found = {d.id: d for d in blind.claim([Wanted(TO, None, 10, 0.001)])[0].deliveries}
    assert (found[mine].body, found[plain].body) == ({"from": "a"}, {"from": "c"})
    assert found[theirs].body is None and f"Message {theirs} cannot" in str(found[theirs].unreadable)
    view = blind.get(theirs)
    assert view is not None and view.body is None and "ENCRYPTION_KEYS" in str(view.unreadable)
    assert len(blind.find(states=None, leased=None, recipient=None, sender=None, topic=None, after=None, limit=9)) == 3
    for one in (mine, theirs, plain):
        view = seeing.get(one)
        assert view is not None and view.unreadable is None and set(view.body) == {"from"}


def test_a_message_that_outgrows_its_row_by_encryption_is_refused(engine: Engine) -> None:
    said = {"from_": "a", "topic": None, "key": None, "job": None, "max_deliveries": 5, "max_bytes": 1_048_576}
    large = new_message(TO, "x" * 1_000_000, **said)  # type: ignore[arg-type]
    assert MessageStore(engine, tenant="default", actor="t").send([large]) == [large.id]
    with pytest.raises(InvalidMessage, match="once it is encrypted"):
        MessageStore(engine, tenant="default", actor="t", cipher=Cipher(KEY)).send([large])
