"""What a job looks like on the wire: a Celery protocol 2 message, without its prompt.

Built by template: Celery's own `apply_async` costs about half a millisecond a message, this a few microseconds.
Source: docs.celeryq.dev, "Message Protocol", version 2; the envelope is kombu's for virtual transports.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from datetime import datetime
from functools import lru_cache
from typing import Any

from hotset.jobs import Routing

TASK = "hotset.run"
_EMPTY_BODY = base64.b64encode(
    json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
).decode()
_ORIGIN = f"hotset{os.getpid()}@{socket.gethostname()}"
#: Levels of lists and objects in a message's body; nobody's metadata is deeper.
_DEEPEST = 64
_LONGEST_ID = 64

_TEMPLATE = json.dumps(
    {
        "body": _EMPTY_BODY,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": "%(id)s",
            "root_id": "%(id)s",
            "parent_id": None,
            "group": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "%(shown)s",
            "origin": _ORIGIN.replace("%", "%%"),
            "ignore_result": True,
            "hotset": {
                "deadline": "%(deadline)s",
                "arrival": "%(arrival)s",
                "priority": "%(priority)s",
                "tenant": "%(tenant)s",
                "agent": "%(agent)s",
                "lane": "%(lane)s",
            },
        },
        "properties": {
            "correlation_id": "%(id)s",
            "reply_to": None,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "%(queue)s"},
            "body_encoding": "base64",
            "delivery_tag": "%(id)s",
        },
    },
    separators=(",", ":"),
)


def encode(job: Routing) -> str:
    """The message that stands for a job: its id and routing. Flower sees agent and tenant, never a prompt."""
    return _TEMPLATE % {
        "id": job.id,
        "shown": _shown(job.agent, job.tenant),
        "deadline": job.deadline_at.isoformat(),
        "arrival": job.arrived_at.isoformat(),
        "priority": job.priority.label,
        "tenant": _escaped(job.tenant),
        "agent": _escaped(job.agent),
        "lane": job.lane,
        "queue": _escaped(job.queue),
    }


def decode(raw: bytes) -> dict[str, Any]:
    """The message of any producer, as our transport delivers it. Raises ValueError, which says what is wrong with it.

    What Celery would run, unpack or log is checked before Celery sees it: only `hotset.run`, only JSON, not compressed
    (a small body may unpack to any size), not deeper than anybody needs.
    """
    try:
        message = json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as e:
        raise ValueError(f"it is not UTF-8 text with JSON: {type(e).__name__}") from None
    if not isinstance(message, dict):
        raise ValueError("it is no object")
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        raise ValueError("it has no headers or properties")
    _check_headers(headers)
    if str(message.get("content-type")).lower() != "application/json" or headers.get("compression"):
        raise ValueError("its body is not plain JSON")
    if not isinstance(headers.setdefault("hotset", {}), dict):
        raise ValueError("its header 'hotset' is no object")
    if not isinstance(properties.setdefault("delivery_info", {}), dict):
        raise ValueError("its delivery_info is no object")
    if message.get("body") != _EMPTY_BODY:
        _check_body(message.get("body"), properties.get("body_encoding"))
    # A name of the producer's choice would stand in Flower in place of the task's.
    headers["shadow"] = None
    return message


def _check_headers(headers: dict[str, Any]) -> None:
    task, task_id = headers.get("task"), headers.get("id")
    if task != TASK:
        raise ValueError(f"its task is {str(task)[:80]!r}, and only {TASK!r} is run here")
    if not isinstance(task_id, str) or not 1 <= len(task_id) <= _LONGEST_ID or not task_id.isprintable():
        raise ValueError("its id is not a text of 1 to 64 characters")
    for name in ("eta", "expires"):
        value = headers.get(name)
        try:
            if value is not None:
                datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError(f"its {name} is no time of day") from None
    if not isinstance(headers.get("retries") or 0, int):
        raise ValueError("its retries are no number")


def _check_body(body: object, encoding: object) -> None:
    if not isinstance(body, str):
        raise ValueError("its body is no text")
    try:
        parsed = json.loads(base64.b64decode(body, validate=True) if encoding == "base64" else body)
    except RecursionError:
        raise ValueError("its body is nested too deeply") from None
    except ValueError:
        raise ValueError("its body is not JSON") from None
    kinds = (list, dict, dict)
    if not isinstance(parsed, list) or [type(part) for part in parsed] != list(kinds):
        raise ValueError("its body is not [arguments, named arguments, what follows]")
    level: list[Any] = [parsed]
    for _ in range(_DEEPEST):
        level = [inner for part in level for inner in _parts(part)]
        if not level:
            return
    raise ValueError("its body is nested too deeply")


def _parts(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


@lru_cache(maxsize=4096)
def _shown(agent: str, tenant: str) -> str:
    return _escaped(f"{{'agent': {agent!r}, 'tenant': {tenant!r}}}")


@lru_cache(maxsize=4096)
def _escaped(text: str) -> str:
    """As it stands between the quotes of a JSON string."""
    return json.dumps(text)[1:-1]
