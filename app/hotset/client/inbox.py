"""An agent's inbox: messages as they come, each under a lease, and what becomes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hotset.client.steps import Ask, Box, Call, Give, Plan, Take, is_over, run, sooner, until_after
from hotset.errors import HotsetError, LeaseLost, Unavailable
from hotset.messaging import Claimed, Delivery, Wanted
from hotset.messaging.message import reason_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hotset.client.messaging import Messaging

#: Wall seconds until a look that failed is tried again.
_AGAIN_S = 0.5
#: Wall seconds between looks when nothing else says when: the listener tells of what comes.
_LONG_S = 3600.0

M = TypeVar("M")


class Received:
    """What was said, by whom, and how often it was delivered."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    @property
    def id(self) -> str:
        return str(self._delivery.id)

    @property
    def body(self) -> Any:
        """JSON: texts, numbers, lists, objects. Raises CannotDecrypt."""
        if self._delivery.unreadable is not None:
            raise self._delivery.unreadable
        return self._delivery.body

    @property
    def from_(self) -> str | None:
        """Who sent it, if they said so."""
        return self._delivery.sender or None

    @property
    def to(self) -> str:
        return self._delivery.recipient

    @property
    def topic(self) -> str | None:
        """What it is about; of a publication its topic."""
        return self._delivery.topic

    @property
    def job(self) -> str | None:
        """The id of the job whose answer it is, or which the sender named."""
        return None if self._delivery.job is None else str(self._delivery.job)

    @property
    def sent_at(self) -> datetime:
        return self._delivery.sent_at

    @property
    def attempts(self) -> int:
        """How often it was delivered, with this time."""
        return self._delivery.attempts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, from {self.from_!r}, attempt {self.attempts})"


class Message(Received):
    """A message under a lease. Without `ack` it is delivered again when the lease ends."""

    def __init__(self, client: Messaging, delivery: Delivery) -> None:
        super().__init__(delivery)
        self._client = client

    def ack(self) -> None:
        """It is handled. Raises LeaseLost when its lease has ended and it went to somebody else."""
        run(self._acked())

    def _acked(self) -> Plan[Any, None]:
        """`ack` as a plan, for threads and tasks alike."""
        client = self._client._here()
        if not (yield Ask(client._acks, self._delivery)):
            yield Call(partial(client._messages.ack, self._delivery))

    def nack(self, reason: str = "refused", delay: float | None = None) -> bool:
        """Have it delivered again, after `delay` wall seconds or a back-off (1 s, doubling, 300 s at most).

        False: that was its last delivery, and it is a dead letter now, with the reason. Raises LeaseLost.
        """
        client = self._client._here()
        again: bool = client._messages.nack(self._delivery, reason=reason_of(reason), delay_s=delay)
        # It comes back, or what is behind it has its turn.
        client._wake({self.to})
        return again

    def extend(self, lease_s: float = 30.0) -> None:
        """Hold it for so many wall seconds from now. Raises LeaseLost."""
        if not self._client._here()._messages.extend([self._delivery], lease_s=lease_s):
            raise LeaseLost(self.id)

    @contextmanager
    def handling(self) -> Iterator[Connection]:
        """A transaction in hotset's database: what is done in it, and the acknowledgement, both happen or neither does.

            with msg.handling() as connection:
                connection.exec_driver_sql("INSERT INTO orders VALUES (%s)", [msg.body["order"]])
                client.send("billing", {"order": 1}, within=connection)

        So effects in this database come once, whatever dies when. An exception undoes them and refuses the message.
        Raises LeaseLost, before anything is done.
        """
        client = self._client._here()
        wake: set[str] = set()
        try:
            with client._messages.handling(self._delivery) as connection:
                client._to_wake[id(connection)] = wake
                try:
                    yield connection
                finally:
                    del client._to_wake[id(connection)]
        except LeaseLost:
            raise
        except Exception as e:
            client._refuse(self._delivery, type(e).__name__)
            raise
        client._wake(wake)


def inbox(
    client: Messaging,
    agent: str,
    make: Callable[[Delivery], M],
    *,
    lease_s: float,
    batch: int,
    timeout: float | None,
) -> Plan[M, None]:
    """The messages of an inbox as they come. Ends when nothing came for `timeout` wall seconds."""
    here = client._here()
    store, claims, listener = here._messages, here._claims, here._listener
    box = Box()
    taken: deque[Delivery] = deque()
    after: str | None = None
    began = False
    listener.watch_inbox(agent, box)
    try:
        until = until_after(timeout)
        while True:
            box.clear()
            try:
                claimed = yield Ask(claims, Wanted(agent, after, batch, lease_s))
                began = True
            except Unavailable:
                if not began:
                    raise
                claimed = Claimed((), again_in_s=_AGAIN_S)
            fresh = until_after(lease_s / 2)
            taken.extend(claimed.deliveries)
            while taken:
                if is_over(fresh):
                    # Whoever gets the next one shall have a lease that is not half over.
                    held = yield Call(partial(store.extend, list(taken), lease_s=lease_s))
                    taken = deque(d for d in taken if d.id in held)
                    fresh = until_after(lease_s / 2)
                    continue
                after = taken[0].sender
                yield Give(make(taken.popleft()))
                until = until_after(timeout)
            if claimed.more:
                continue
            if is_over(until) and not claimed.deliveries:
                return
            again = _LONG_S if claimed.again_in_s is None else claimed.again_in_s
            # What was given out and not acknowledged is to be had again when its lease ends.
            yield Take(box, sooner(until, min(again, lease_s) if claimed.deliveries else again))
    finally:
        listener.unwatch_inbox(agent, box)
        if taken:
            _hand_back(client, list(taken))


def _hand_back(client: Messaging, deliveries: list[Delivery]) -> None:
    try:
        client._messages.release(deliveries)
        client._wake({d.recipient for d in deliveries})
    except HotsetError:
        # Their leases end by themselves.
        return
