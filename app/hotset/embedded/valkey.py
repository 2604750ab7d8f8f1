"""A Valkey on 127.0.0.1, as broker or as cache: the two need opposite rules about forgetting."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hotset.embedded.accounts import Account
from hotset.embedded.server import Server
from hotset.embedded.wheels import Program, valkey_program
from hotset.errors import BrokerUnavailable, PortTaken, Unavailable, UsageError

Role = Literal["broker", "cache"]

HOST = "127.0.0.1"
PORT_TRIES = 5

RULES: dict[Role, dict[str, str]] = {
    # Forgets nothing: a queue that evicts loses work. A crash costs at most the last second, which the
    # relay repairs.
    "broker": {
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
    },
    # Forgets what is seldom asked for, and everything at a stop.
    "cache": {"save": "", "appendonly": "no", "maxmemory": "128mb", "maxmemory-policy": "allkeys-lfu"},
}


class Valkey(Server):
    """A Valkey with the rules of its `role`, on `port` or on a free one.

    `prefer` is a port to take if it is free: that of the last start, so that addresses live longer than a
    restart. Raises PortTaken (`port` is in use) and BrokerUnavailable.
    """

    kind: ClassVar[str] = "Valkey"
    binary: ClassVar[str] = "valkey-server"
    signals: ClassVar[tuple[int, ...]] = (signal.SIGTERM, signal.SIGKILL)
    error: ClassVar[type[Unavailable]] = BrokerUnavailable
    ready_within: ClassVar[float] = 60.0  # it reads its log of appends first

    def __init__(
        self,
        data_dir: Path | str,
        role: Role = "broker",
        *,
        port: int | None = None,
        prefer: int | None = None,
    ) -> None:
        if role not in get_args(Role):
            raise UsageError(f"A Valkey cannot be a {role!r}.", remedy=f"Roles are {' and '.join(get_args(Role))}.")
        super().__init__(data_dir)
        self.role: Role = role
        self.port = port or prefer or 0
        self._fixed_port = port
        self._prefer = prefer

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> Self:
        """Start; a port that someone took between our look and Valkey's bind is changed for another."""
        for attempt in range(PORT_TRIES):
            self.port = self._fixed_port or self._pick_port(first=attempt == 0)
            try:
                super().start()
            except BrokerUnavailable as error:
                if "Address already in use" not in error.message:
                    raise
                if self._fixed_port:
                    break
            else:
                return self
        raise PortTaken(
            f"Port {self.port} on {HOST} is in use.",
            remedy="Stop the program that has it (`ss -ltnp` names it), or give another port.",
        )

    def _pick_port(self, *, first: bool) -> int:
        if first and self._prefer and port_is_free(self._prefer):
            return self._prefer
        return free_port()

    def _program(self) -> Program:
        return valkey_program()

    def _prepare(self, program: Program, account: Account) -> None:
        self.data.mkdir(0o700, exist_ok=True)
        account.give(self.data)

    def _arguments(self) -> list[str]:
        ours = {
            "bind": HOST,
            "port": str(self.port),
            "protected-mode": "yes",
            "daemonize": "no",
            # By default it writes its title over its command line, by which we know it as ours.
            "set-proc-title": "no",
            **RULES[self.role],
        }
        return [
            "--dir",
            str(self.data),
            *(word for name, value in ours.items() for word in (f"--{name}", value)),
        ]

    def _answers(self) -> bool:
        """Whether it is our process that answers: another server may have won the race for the port."""
        # Without the client's own retries: a stranger on our port that says nothing would hold us for minutes.
        client = redis.Redis(HOST, self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            # It says its id even while it loads; PING succeeds once it has loaded.
            ours = self.process is not None and client.info("server")["process_id"] == self.process.pid
            return ours and bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As Valkey itself: connections of the last start that are still closing do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True
