"""Flower on our queues. Its broker page counts the list of a queue's name, which for us is only the inbox: here it
learns to ask the lanes, too. Imported by `hotset flower` alone; needs the extra `watch`."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from flower import views
from flower.app import Flower
from flower.urls import settings as flower_settings
from flower.utils import broker as flower_broker
from tornado.options import options

from hotset.broker.lanes import Lanes
from hotset.broker.transport import SCHEME
from hotset.errors import PortTaken

HOST = "127.0.0.1"


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


def serve_flower(app: Celery, lanes: Lanes, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve on the loopback address until Ctrl-C (then it returns) or SIGTERM (then the process ends).

    `port` 0 takes a free one; `ready` is called with the address once it listens. Raises PortTaken.
    """
    teach_queues(lanes)
    options.port, options.address = port, HOST
    flower = Flower(capp=app, options=options, **flower_settings)
    try:
        taken = flower.start_http_server()
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(
            f"Port {port} of {HOST} is taken.", remedy="Choose another with --port (0 takes a free one)."
        ) from e
    signal.signal(signal.SIGTERM, _end)
    ready(f"http://{HOST}:{taken}")
    try:
        flower.start()
    except KeyboardInterrupt:
        return
    finally:
        flower.stop()


def _end(*_: object) -> None:
    raise SystemExit(0)
