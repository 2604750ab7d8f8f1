"""What anybody with a hand on the broker may send: refused or put aside, audited, never run; the worker lives on."""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

import hotset
from hotset.broker.messages import decode
from hotset_worker.run_job import job_of
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
MANY = 200_000


@pytest.fixture(scope="module")
def broker(served: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(served.env["HOTSET_BROKER_URL"]) as connection:
        yield connection


def message(
    args: Any = (), kwargs: Any = None, *, embed: Any = None, body: str | None = None, **headers: Any
) -> dict[str, Any]:
    """A message of a Celery producer; `headers` in place of the usual ones."""
    task_id = str(uuid.uuid4())
    if body is None:
        body = base64.b64encode(json.dumps([list(args), kwargs or {}, embed or {}]).encode()).decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "hotset.run", "id": task_id, "retries": 0, "eta": None, **headers},
        "properties": {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": "tinyllama"}},
    }


def job(**kwargs: Any) -> dict[str, Any]:
    return message(kwargs={"agent": LIGHT, "prompt": "x", **kwargs})


def raw(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def put_aside(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = "SELECT detail ->> 'reason' AS reason FROM audit WHERE action = 'message-quarantined' ORDER BY at, id"
        return [row.reason for row in connection.exec_driver_sql(query)]


def refused(engine: Engine, task_id: str) -> list[str]:
    with engine.connect() as connection:
        query = "SELECT detail ->> 'reason' AS reason FROM audit WHERE action = 'refused' AND job_id = %s"
        return [row.reason for row in connection.exec_driver_sql(query, (job_of(task_id),))]


def still_works(served: Stack, client: hotset.Client) -> None:
    assert client.submit(LIGHT, "and on").result(timeout=120), served.log()
    assert [worker.poll() for worker in served.workers] == [None]


DEEP = base64.b64encode(b"[[],{}," + b'{"a":' * 500 + b"1" + b"}" * 500 + b"]").decode()
BOMB = base64.b64encode(gzip.compress(b" " * 10_000_000)).decode()
ASIDE: dict[str, bytes] = {
    "no Celery message": b"\x00\xff\xfe",
    "longer than": b"x" * 50_000_000,
    "its task is 'os.system'": raw(message(task="os.system")),
    "its task is 'celery.backend_cleanup'": raw(message(task="celery.backend_cleanup")),
    "its task is 'hotset.run; rm": raw(message(task="hotset.run; rm -rf /")),
    "not plain JSON": raw({**job(), "content-type": "application/x-python-serialize"}),
    "not plain JSON ": raw(message(body=BOMB, compression="application/x-gzip")),
    "nested too deeply": raw(message(body=DEEP)),
    "nested too deeply ": raw(message(body=base64.b64encode(b"[" * 600_000).decode())),
    "body is not JSON": raw(message(body=base64.b64encode(b"cos\nsystem\n(S'id'\ntR.").decode())),
    "body is not JSON ": raw(message(body="%%%")),
    "not UTF-8": raw(job()).replace(b'"lang": "py"', b'"lang": "\xff\xfe"'),
    "[arguments, named arguments, what follows]": raw(message(body=base64.b64encode(b"{}").decode())),
    "eta is no time": raw(message(eta="tomorrow'; DROP TABLE jobs; --")),
    "retries are no number": raw(message(retries={"$gt": 0})),
    "header 'hotset' is no object": raw(message(hotset="claim")),
    "names no id": raw(message(id=7)),
    "id is not a text": raw(message(id="a\x00b")),
}


def test_what_nobody_can_run_is_put_aside_and_audited_without_its_content(
    served: Stack, client: hotset.Client, broker: redis.Redis, served_engine: Engine
) -> None:
    broker.delete("hs:quarantine")
    for value in ASIDE.values():
        broker.lpush("tinyllama", value)
    eventually(
        lambda: len(put_aside(served_engine)) >= len(ASIDE), within_s=60, message=lambda: str(put_aside(served_engine))
    )
    reasons = put_aside(served_engine)
    assert len(reasons) == len(ASIDE)
    for reason in ASIDE:
        assert any(reason.strip() in said for said in reasons), (reason, reasons)
    assert broker.llen("hs:quarantine") == len(ASIDE)
    assert broker.memory_usage("hs:quarantine", samples=0) < 5_000_000, "of a huge message only its head is kept"
    assert broker.hlen("hs:unacked") == 0, "no slot is held"
    still_works(served, client)


def test_wrong_arguments_are_refused_and_audited(
    served: Stack, client: hotset.Client, broker: redis.Redis, served_engine: Engine
) -> None:
    bad = {
        "NUL": job(prompt="a\x00b"),
        "not valid Unicode": job(prompt="a\ud800b"),
        "over the limit": job(prompt="x" * 300_000),
        "NUL ": job(metadata={"a": "\x00"}),
        "cannot store": job(metadata={"a": "\ud800"}),
        "The metadata has": job(metadata={"a": "x" * MANY}),
        "hotset.run has no argument": job(**{"__import__('os').system('id')": 1}),
        "no option": job(options={"num_gpu; id": 1}),
        "options are a list": job(options=["; id"]),
        "is not a priority": job(priority=10**400),
        "is not a duration": job(run_timeout={"$ne": None}),
        "max_retries": job(max_retries=-1),
        "tenant": job(tenant="t" * 5000),
        "There is no agent": job(agent="../../etc/passwd"),
        "Celery chord": {
            **job(),
            "body": message(kwargs={"agent": LIGHT, "prompt": "x"}, embed={"chord": {"task": "x"}})["body"],
        },
    }
    for value in bad.values():
        broker.lpush("tinyllama", raw(value))
    for reason, value in bad.items():
        task = value["headers"]["id"]
        eventually(lambda task=task: bool(refused(served_engine, task)), within_s=40, message=served.log)
        assert reason.strip() in refused(served_engine, task)[0], reason
    still_works(served, client)


def test_sql_and_shell_in_every_field_are_words(
    served: Stack, client: hotset.Client, broker: redis.Redis, served_engine: Engine, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    evil = f"'; DROP TABLE jobs CASCADE; --\"$(touch {canary})`touch {canary}` {{{{7*7}}}} %s %(id)s ${{HOME}} \\x41"
    value = job(prompt=evil, metadata={evil: evil}, tenant=evil[:200], options={"stop": [evil[:200]]})
    value["headers"] |= {"shadow": evil, "argsrepr": evil, "kwargsrepr": evil, "origin": evil, "root_id": evil}
    broker.lpush("tinyllama", raw(value))
    task = value["headers"]["id"]
    theirs = served.client(tenant=evil[:200])

    def ended() -> bool:
        try:
            return theirs.job(task).status.terminal
        except hotset.HotsetError:
            return False

    eventually(ended, within_s=40, message=served.log)
    view = theirs.job(task).view
    assert view.metadata == {evil: evil} and view.tenant == evil[:200] and str(view.state) == "succeeded"
    # And from our own door, in every field that takes a text.
    mine = client.submit(LIGHT, evil, metadata={"a": evil}, idempotency_key=evil[:500], options={"stop": evil[:200]})
    assert mine.result(timeout=120) and client.jobs(agent=LIGHT)
    mine.cancel(evil)
    assert not canary.exists()
    assert evil not in served.log(), "no prompt in a log"
    still_works(served, client)


def test_noise_on_the_channels_and_the_board_stops_nobody(
    served: Stack, client: hotset.Client, broker: redis.Redis
) -> None:
    noise = [b"", b"\x00\xff\xfe", b"[" * 100_000, b"{}", b'{"body": 5}', b"x" * 2_000_000, b'{"method": "nothing"}']
    noise.append(raw({**message(body=base64.b64encode(b'{"method": "__class__", "arguments": []}').decode())}))
    for channel in ("hs:cancel", "hs:wake", "/0.celery.pidbox", "/0.celeryev/worker.heartbeat"):
        for value in noise:
            broker.publish(channel, value)
    broker.publish("hs:cancel", str(uuid.uuid4()))
    broker.zadd("hs:gpus", dict.fromkeys(("forged", "forged2", "forged3"), 1000 * time.time()))
    broker.set("hs:gpu:forged", b"[" * 5000, ex=60)
    broker.set("hs:gpu:forged2", b'{"name": 1, "residents": {"m": "x"}}', ex=60)
    broker.set("hs:gpu:forged3", b"null", ex=60)
    broker.sadd("hs:lanes:tinyllama", "normal")
    # Members without a message, and a claim that names no lane of ours.
    broker.zadd("hs:arrival:tinyllama:normal", {"'; --": 0, "forged": 1})
    still_works(served, client)
    still_works(served, client)


@pytest.mark.parametrize("count", [1, 80])
def test_what_is_decoded_is_what_was_sent(count: int) -> None:
    value = job(metadata={"level": json.loads("[" * count + "]" * count)})
    if count > 50:
        with pytest.raises(ValueError, match="deeply"):
            decode(raw(value))
        return
    found = decode(raw(value))
    assert found["headers"]["id"] == value["headers"]["id"] and found["body"] == value["body"]
