"""Flower on our queues. Its broker page counts the list of a queue's name, which for us is only the inbox: here it
learns to ask the lanes, too. Imported by `hotset flower` alone; needs the extra `watch`."""

from __future__ import annotations

import ast
import asyncio
import errno
import ipaddress
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn
from urllib.parse import urlsplit

from celery import Celery
from flower import views
from flower.app import Flower
from flower.urls import settings as flower_settings
from flower.utils import broker as flower_broker
from tornado.options import options

from hotset.broker.lanes import Lanes
from hotset.broker.messages import TASK
from hotset.broker.transport import SCHEME
from hotset.errors import InvalidSettings, PortTaken, UsageError

#: An argument that may be shown. Names are short and plain: no stretch of a prompt passes for one.
_NAMED = re.compile(r"'(agent|tenant)': '([\w.@:-]{1,200})'")


class QueueLengths:
    """What Flower calls a broker: gives the waiting jobs of queues, in lanes and inbox together."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        lengths = await loop.run_in_executor(None, self._lanes.lengths, list(names))
        return [{"name": name, "messages": waiting, "messages_ready": waiting} for name, waiting in lengths.items()]


def teach_queues(lanes: Lanes) -> None:
    """From now on Flower knows brokers of our scheme; all of them are `lanes`: a Flower has one broker."""
    stock = flower_broker.Broker

    def make(broker_url: str, *args: Any, **kwargs: Any) -> Any:
        if urlsplit(broker_url).scheme == SCHEME:
            return QueueLengths(lanes)
        return stock(broker_url, *args, **kwargs)

    flower_broker.Broker = views.Broker = make


def mind_events(state: Any) -> None:
    """From now on the state keeps agent and tenant of a task and no other argument: the messages of plain Celery
    producers carry a prompt, and their events show it. A task that is revoked before it is received gets its name,
    which Celery does not tell."""
    take = state.event

    def event(said: dict[str, Any]) -> None:
        shown = {name: _shown(str(said[name])) for name in ("args", "kwargs") if said.get(name)}
        if said["type"] == "task-revoked" and said["uuid"] not in state.tasks:
            shown["name"] = TASK
        take({**said, **shown})

    state.event = event


def check_access(host: str, auth: str | None) -> None:
    """Flower's pages are open without a login: then it may listen to this machine only.

    Raises UsageError, and InvalidSettings for an `auth` that is not `user:password`.
    """
    if auth is not None and not all(auth.partition(":")):
        # The value stays out of the message: it may be a password.
        raise InvalidSettings("flower_auth is not user:password.", remedy="Set HOTSET_FLOWER_AUTH=user:password.")
    if auth is None and not _is_loopback(host):
        raise UsageError(
            f"Without a login Flower listens to this machine only, and {host} is not it.",
            remedy="Set HOTSET_FLOWER_AUTH=user:password (or flower_auth in hotset.toml), or leave --host out.",
        )


def serve_flower(
    app: Celery, lanes: Lanes, *, host: str, port: int, auth: str | None, ready: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM, which end the process. See `check_access` for who may look.

    Without `auth` it is read-only: any page in a browser on this machine could otherwise stop workers. `port` 0
    takes a free one; `ready` is called with the address once it listens. Raises PortTaken and as `check_access`.
    """
    check_access(host, auth)
    teach_queues(lanes)
    options.port, options.address = port, host
    options.basic_auth = [auth] if auth else []
    options.read_only = auth is None
    flower = Flower(capp=app, options=options, **flower_settings)
    mind_events(flower.events.state)
    try:
        taken = flower.start_http_server()
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(
            f"Port {port} of {host} is taken.", remedy="Choose another with --port (0 takes a free one)."
        ) from e
    signal.signal(signal.SIGTERM, lambda *_: _end(0))
    ready(f"http://{f'[{host}]' if ':' in host else host}:{taken}")
    try:
        flower.start()
    except KeyboardInterrupt:
        _end(130)


def _shown(arguments: str) -> str:
    """Agent and tenant of a task's arguments as Celery writes them, cut off in the middle or not."""
    try:
        said = ast.literal_eval(arguments)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        said = None
    if said == () or (isinstance(said, dict) and said.keys() <= {"agent", "tenant"}):
        return arguments  # our own messages
    found: dict[str, str] = {}
    for name, value in _NAMED.findall(arguments):
        found.setdefault(name, value)
    return str(found) if found else "()"


def _is_loopback(host: str) -> bool:
    """Whether every address that the name stands for is this machine's own."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(host) and all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found)


def _end(status: int) -> NoReturn:
    """At once: Python would wait for threads of Flower that wait for ever for a broker that has gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
