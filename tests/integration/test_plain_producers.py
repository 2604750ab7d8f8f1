"""Plain Celery programs: what they send becomes jobs at first sight, in the right queue, once, and stays unseen."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from celery import Celery, chain, group, signature
from celery.events import EventReceiver
from kombu import Connection
from sqlalchemy import Engine

import hotset
from hotset.errors import UnknownJob
from hotset.jobs import State
from hotset_worker.run_job import job_of
from stack import Stack, eventually

LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"
SECRET = "the secret sauce"


@pytest.fixture(scope="module")
def broker(served: Stack) -> str:
    return served.env["HOTSET_BROKER_URL"]


@pytest.fixture
def producer(broker: str) -> Iterator[Celery]:
    app = Celery("elsewhere", broker=broker, backend=None, set_as_current=False)
    app.conf.task_default_exchange = ""
    yield app
    app.close()


def send(app: Celery, queue: str = "tinyllama", task_id: str | None = None, args: Any = (), **kwargs: Any) -> str:
    sent = app.send_task("hotset.run", args=args, kwargs=kwargs, queue=queue, task_id=task_id)
    return str(sent.id)


def ended(client: hotset.Client, job: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return client.job(job).status.terminal
        except UnknownJob:
            return False

    return look


def audited(engine: Engine, action: str, job: UUID | str | None = None) -> list[dict[str, Any]]:
    query = "SELECT detail FROM audit WHERE action = %(a)s AND (%(j)s::uuid IS NULL OR job_id = %(j)s) ORDER BY at, id"
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query, {"a": action, "j": str(job) if job else None}).all()
    return [row.detail for row in found]


def deliver(broker: str, queue: str, *messages: str) -> None:
    with redis.Redis.from_url(broker) as connection:
        connection.lpush(queue, *messages)


def messages(broker: str, queue: str) -> list[str]:
    """What lies in a queue that nobody reads, the newest first, as it came."""
    with redis.Redis.from_url(broker, decode_responses=True) as connection:
        return connection.lrange(queue, 0, -1)  # type: ignore[return-value]


def test_by_name_or_by_place_the_row_is_made_and_runs(client: hotset.Client, served: Stack, producer: Celery) -> None:
    named = send(producer, agent=LIGHT, prompt="by name", priority="high", metadata={"a": 1}, options={"seed": 7})
    placed = send(producer, args=(LIGHT, "by place"), run_timeout="5m")
    mixed = send(producer, args=("mixed",), agent=LIGHT)
    for job in (named, placed, mixed):
        eventually(ended(client, job), within_s=30, message=served.log)
        assert client.job(job).result(timeout=5).text
    assert client.job(named).view.metadata == {"a": 1} and client.job(named).view.priority == 2
    assert client.audit(placed)[0]["actor"] == "celery"


def test_a_queue_that_disagrees_with_the_tier_is_corrected_and_no_model_is_swapped_for_it(
    client: hotset.Client, served: Stack, producer: Celery, served_engine: Engine
) -> None:
    """The grant was for tinyllama: a balanced job that lay there must run by a grant of its own queue."""
    job = send(producer, queue="tinyllama", agent=BALANCED, prompt="x")
    eventually(ended(client, job), within_s=40, message=served.log)
    result = client.job(job).result(timeout=5)
    assert result.model == "qwen2.5-coder:7b" and client.job(job).view.queue == "qwen"
    assert audited(served_engine, "rerouted", job) == [{"from": "tinyllama", "to": "qwen", "agent": BALANCED}]
    assert [r["action"] for r in client.audit(job)] == ["accept", "rerouted", "claim", "succeeded"]
    # The owner had loaded the model before it granted: the server had nothing to load when the request came.
    assert result.timings["load_ms"] < 25, "a load of qwen takes 50 ms at this scale"


def test_a_message_that_comes_again_runs_nothing_twice(
    client: hotset.Client, served: Stack, producer: Celery, broker: str, served_engine: Engine
) -> None:
    job = send(producer, queue="kept", agent=LIGHT, prompt="once")
    (raw,) = messages(broker, "kept")
    deliver(broker, "tinyllama", raw)
    eventually(ended(client, job), within_s=30, message=served.log)
    deliver(broker, "tinyllama", raw, raw)
    deliver(broker, "qwen", raw)  # even from a queue that is not its own
    last = send(producer, agent=LIGHT, prompt="after them")
    eventually(ended(client, last), within_s=30, message=served.log)
    assert client.job(job).view.attempt == 1
    assert [r["action"] for r in client.audit(job)] == ["accept", "claim", "succeeded"]
    # The same id with other words is another request: refused, and said.
    send(producer, task_id=job, agent=LIGHT, prompt="other")
    eventually(lambda: bool(audited(served_engine, "refused", job)), within_s=20, message=served.log)
    assert "asked for something else" in audited(served_engine, "refused", job)[0]["reason"]


def test_an_id_that_is_no_uuid_is_as_good(client: hotset.Client, served: Stack, producer: Celery) -> None:
    send(producer, task_id="invoice-2026-0042", agent=LIGHT, prompt="x")
    job = str(job_of("invoice-2026-0042"))
    eventually(ended(client, job), within_s=30, message=served.log)
    send(producer, task_id="invoice-2026-0042", agent=LIGHT, prompt="x")
    last = send(producer, agent=LIGHT, prompt="y")
    eventually(ended(client, last), within_s=30, message=served.log)
    assert client.job(job).view.attempt == 1 and client.job(job).status is State.SUCCEEDED


def test_what_is_malformed_is_refused_audited_and_fails_the_task(
    client: hotset.Client, served: Stack, producer: Celery, served_engine: Engine
) -> None:
    bad = {
        "There is no agent 'nobody'": send(producer, agent="nobody", prompt="x"),
        "without prompt": send(producer, agent=LIGHT),
        "no argument 'promt'": send(producer, agent=LIGHT, promt="x"),
        "is not a priority": send(producer, agent=LIGHT, prompt="x", priority="asap"),
        "The prompt is a list": send(producer, agent=LIGHT, prompt=["x"]),
        "4 arguments by place": send(producer, args=(LIGHT, "x", "y", "z")),
        "one argument more": send(producer, args=("answer", LIGHT, "x")),
        "metadata": send(producer, agent=LIGHT, prompt="x", metadata="abc"),
        "is not a duration": send(producer, agent=LIGHT, prompt="x", deadline=[1]),
    }
    for reason, job in bad.items():
        eventually(lambda job=job: bool(audited(served_engine, "refused", job)), within_s=30, message=served.log)
        assert reason in audited(served_engine, "refused", job)[0]["reason"]
        with pytest.raises(UnknownJob):
            client.job(job)
        eventually(lambda job=job: f"{job}] raised expected" in served.log(), within_s=10, message=served.log)
    # The worker goes on.
    last = send(producer, agent=LIGHT, prompt="fine")
    eventually(ended(client, last), within_s=30, message=served.log)


CHORD = """
import sys
from celery import Celery, chord
app = Celery("with-backend", broker=sys.argv[1], backend=sys.argv[2])
run = app.signature("hotset.run", kwargs={"agent": sys.argv[3], "prompt": "x"}, queue="tinyllama")
chord([run, run.clone()], run.clone()).apply_async()
"""


def test_a_native_chord_is_refused_and_says_what_to_use(
    client: hotset.Client, served: Stack, served_engine: Engine, broker: str
) -> None:
    command = [sys.executable, "-c", CHORD, broker, served.env["HOTSET_CACHE_URL"], LIGHT]
    subprocess.run(command, check=True, timeout=60)

    def refused() -> list[str]:
        return [d["task_id"] for d in audited(served_engine, "refused") if "hotset.chord" in d["reason"]]

    eventually(lambda: len(refused()) == 2, within_s=30, message=served.log)
    for task in refused():
        eventually(lambda task=task: f"{task}] raised expected: InvalidJob" in served.log(), within_s=10)


def test_native_chains_and_links_go_on_with_the_answer(
    client: hotset.Client, served: Stack, producer: Celery, broker: str, served_engine: Engine
) -> None:
    """The next task gets the text: one of hotset by `{prev}`, one of another program as its argument."""

    def run(prompt: str, agent: str = LIGHT) -> Any:
        return signature("hotset.run", kwargs={"agent": agent, "prompt": prompt}, queue="tinyllama", app=producer)

    store = signature("elsewhere.store", queue="chained", app=producer)
    # The second lies in the wrong queue: it is moved, and its links go with it.
    chain(run("first of chain"), run("again: {prev}", BALANCED), store, app=producer).apply_async()
    eventually(lambda: len(messages(broker, "chained")) == 1, within_s=40, message=served.log)
    message = json.loads(messages(broker, "chained")[0])
    second = message["headers"]["parent_id"]
    assert _body(message)[0] == [client.job(second).result(timeout=5).text]
    assert message["headers"]["argsrepr"].endswith("tokens,)")
    with served_engine.connect() as connection:
        query = "SELECT (SELECT text FROM results WHERE job_id = jobs.id) FROM jobs WHERE prompt = 'first of chain'"
        first = connection.exec_driver_sql(query).scalar_one()
        prompt = connection.exec_driver_sql("SELECT prompt FROM jobs WHERE id = %s", (second,)).scalar_one()
    assert prompt == f"again: {first}"
    group([run("a").set(link=store), run("b").set(link=store)], app=producer).apply_async()
    eventually(lambda: len(messages(broker, "chained")) == 3, within_s=30, message=served.log)


def test_links_outlive_a_retry_and_a_failure_calls_its_own(served: Stack, producer: Celery, broker: str) -> None:
    producer.send_task(
        "hotset.run",
        kwargs={
            "agent": LIGHT,
            "prompt": "x",
            "max_retries": 1,
            "options": {"hotset_fault": "cut", "hotset_run_s": 5},
        },
        queue="tinyllama",
        link=signature("elsewhere.store", queue="linked", app=producer),
        link_error=signature("elsewhere.failed", queue="linked", immutable=True, app=producer),
    )
    eventually(lambda: len(messages(broker, "linked")) == 1, within_s=30, message=served.log)
    assert json.loads(messages(broker, "linked")[0])["headers"]["task"] == "elsewhere.failed"


def test_a_message_that_comes_after_the_end_gives_its_links_the_stored_answer(
    client: hotset.Client, served: Stack, producer: Celery, broker: str
) -> None:
    """As one whose worker died between its commit and its links."""
    link = signature("elsewhere.store", queue="stored", app=producer)
    job = producer.send_task("hotset.run", kwargs={"agent": LIGHT, "prompt": "y"}, queue="unread", link=link).id
    (raw,) = messages(broker, "unread")
    deliver(broker, "tinyllama", raw)
    eventually(lambda: len(messages(broker, "stored")) == 1, within_s=30, message=served.log)
    deliver(broker, "tinyllama", raw)
    eventually(lambda: len(messages(broker, "stored")) == 2, within_s=30, message=served.log)
    assert client.job(job).view.attempt == 1
    text = client.job(job).result(timeout=5).text
    assert [_body(json.loads(m))[0] for m in messages(broker, "stored")] == [[text], [text]]


def test_a_countdown_waits_in_postgres_and_holds_no_slot(
    client: hotset.Client, served: Stack, producer: Celery
) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=3)
    kwargs = {"agent": LIGHT, "prompt": "later"}
    later = [producer.send_task("hotset.run", kwargs=kwargs, queue="tinyllama", eta=eta).id for _ in range(4)]
    eventually(lambda: all(_state(client, job) is State.SCHEDULED for job in later), within_s=20, message=served.log)
    now = send(producer, agent=LIGHT, prompt="now")
    eventually(ended(client, now), within_s=30, message=served.log)
    assert datetime.now(UTC) < eta
    for job in later:
        eventually(ended(client, job), within_s=30, message=served.log)
        started = client.job(job).view.started_at
        assert started is not None and started >= eta


def test_no_word_of_prompt_or_answer_is_in_events_logs_or_inspect(
    client: hotset.Client, served: Stack, producer: Celery, broker: str
) -> None:
    seen: list[dict[str, Any]] = []
    inspected: list[Any] = []
    with Connection(broker) as connection:
        receiver = EventReceiver(connection, handlers={"*": seen.append}, app=producer)
        listening = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": True})
        listening.start()
        # It is heard once it listens: workers are asked for a heartbeat, and what is sent before is nobody's.
        eventually(lambda: any(e["type"] == "worker-heartbeat" for e in seen), within_s=20, message=served.log)
        job = send(producer, args=(LIGHT, SECRET), options={"hotset_run_s": 300})
        link = signature("elsewhere.store", queue="elsewhere", app=producer)
        kwargs = {"agent": LIGHT, "prompt": SECRET, "metadata": {"a": SECRET}}
        other = producer.send_task("hotset.run", kwargs=kwargs, queue="tinyllama", link=link).id
        bad = send(producer, agent="nobody", prompt=SECRET)

        def done() -> bool:
            if not inspected and _state(client, job) is State.RUNNING:
                inspected.append(producer.control.inspect(timeout=0.5).active())
            told = {e.get("uuid") for e in seen if e["type"] in ("task-succeeded", "task-failed")}
            return {job, other, bad} <= told

        try:
            eventually(done, within_s=40, message=served.log)
        finally:
            receiver.should_stop = True
            listening.join(timeout=10)
    answer = client.job(job).result(timeout=5).text
    shown = json.dumps([seen, inspected], default=str)
    assert inspected and inspected[0] and LIGHT in shown
    for words in (SECRET, answer):
        assert words not in shown and words not in served.log()


def _state(client: hotset.Client, job: str) -> State | None:
    try:
        return client.job(job).status
    except UnknownJob:
        return None


def _body(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))
