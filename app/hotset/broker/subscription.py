"""Connections to Redis that find out when their other end has vanished without a word."""

from __future__ import annotations

import socket
import time
from typing import Any

import redis

#: How long each step may take, in wall seconds. Idle connections are asked for a sign of life (health_check_interval),
#: and by TCP itself: after 10 s, given up after 15 more.
PATIENCE: dict[str, Any] = {
    "socket_connect_timeout": 3,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    },
    "health_check_interval": 10,
}
#: Wall seconds until a ping is answered.
_PONG_S = 10.0


class Subscription(redis.client.PubSub):
    """redis-py's subscription, which only ever sends its pings: here one that stays unanswered is an error.

    Nobody writes to a connection that listens, so nothing else would ever fail on it. Whoever reads it with a timeout
    gets redis.TimeoutError; the next read connects anew and subscribes again.
    """

    def __init__(self, client: redis.Redis, **how: Any) -> None:
        self._pinged: float | None = None
        super().__init__(client.connection_pool, **how)

    def check_health(self) -> None:
        connection = self.connection
        if connection is None or self.health_check_response_counter == 0:
            self._pinged = None
            super().check_health()
            return
        if self._pinged is None:
            self._pinged = time.monotonic()
        elif time.monotonic() - self._pinged > _PONG_S:
            self._pinged, self.health_check_response_counter = None, 0
            connection.disconnect()
            raise redis.TimeoutError(f"no sign of life within {_PONG_S:g} s")
