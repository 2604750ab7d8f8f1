"""kombu's Redis transport with another way to fetch: no BRPOP, but one atomic claim per grant (see `grants`, `lanes`).

Publishing by any Celery producer, control commands and events are kombu's own. A message that is fetched is held as
unacknowledged in the same Lua call, so that a worker that dies at any moment loses none; its claim is renewed by the
worker's heartbeat and returns to its lane when that stops.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu import transport as kombu_transports
from kombu.transport import redis as stock
from kombu.transport import virtual

from hotset.broker.grants import Grant, GrantDesk
from hotset.broker.lanes import Lanes
from hotset.broker.messages import decode
from hotset.errors import BrokerUnavailable

log = logging.getLogger(__name__)

#: `hotset://host:port/db` in place of `redis://`: Celery and Flower choose the transport by it.
SCHEME = "hotset"
kombu_transports.TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


class QoS(stock.QoS):  # type: ignore[misc]  # kombu is untyped
    """Unacknowledged messages are held by the claim, in Redis; this keeps count in the process."""

    # The claim outlives the connection: what still runs when the connection drops must not be handed out again.
    restore_at_shutdown = False

    def append(self, message: Any, delivery_tag: str) -> None:
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self.channel.settle(delivery_tag, requeue=False)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self.channel.settle(delivery_tag, requeue=requeue)
        virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the upkeep returns abandoned claims to their lanes."""


class Channel(stock.Channel):  # type: ignore[misc]  # kombu is untyped
    QoS = QoS
    desk: GrantDesk | None = None
    lanes: Lanes | None = None
    _publisher: Any = None
    from_transport_options = (*stock.Channel.from_transport_options, "desk", "lanes")

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        consumer = super().basic_consume(queue, *args, **kwargs)
        hub = getattr(self.connection, "hub", None)
        if self.desk is not None and hub is not None and queue not in self._fanout_queues:
            self.desk.attach(hub, self)
        return consumer

    def spend(self, grant: Grant) -> str | None:
        """One grant, one claim. Called in the hub's thread."""
        if self.lanes is None or self.desk is None:
            return "this connection belongs to no worker"
        claim = uuid4().hex
        try:
            raw = self.lanes.claim(grant.queue, grant.lane, grant.selector, claim, grant.expected_s)
        except BrokerUnavailable as e:
            return str(e)
        if raw is None:
            return "the lane was empty"
        self.desk.spent(grant, claim)
        try:
            message = decode(raw)
            message["properties"]["delivery_tag"] = claim
            # The run tells the owner of its end by this name.
            message["headers"]["hotset"].update(claim=claim, queue=grant.queue, lane=grant.lane)
            message["properties"]["delivery_info"] = {"exchange": "", "routing_key": grant.queue}
            self.connection._deliver(message, grant.queue)
        except ValueError as e:
            self._put_aside(grant, claim, raw, str(e)[:200])
        except Exception as e:
            # Whatever the message held, the slot must come back, and the message must not come back for ever.
            log.exception("A message of queue %s could not be delivered.", grant.queue)
            self._put_aside(grant, claim, raw, f"Celery could not take it: {type(e).__name__}")
        return None

    def _put_aside(self, grant: Grant, claim: str, raw: bytes, reason: str) -> None:
        """Into quarantine; the slot is free. The upkeep writes it to the audit."""
        log.error("A message of queue %s is put into quarantine: %s.", grant.queue, reason)
        try:
            if self.lanes is not None:
                self.lanes.put_aside(grant.queue, raw, reason)
        except BrokerUnavailable as e:
            # Its claim is restored when its lease ends; then it is put aside once more.
            log.warning("It could not be, yet: %s", e)
            if self.desk is not None:
                self.desk.released(claim)
            return
        self.settle(claim, requeue=False)

    def settle(self, claim: str, *, requeue: bool) -> None:
        """Acknowledge or give back; works after the channel was closed, since a job may end after its connection."""
        try:
            if self.lanes is not None and requeue:
                self.lanes.give_back(claim)
            elif self.lanes is not None:
                self.lanes.ack(claim)
        except BrokerUnavailable as e:
            # Harmless: the claim is restored when its lease ends, and the database refuses a second run.
            log.warning("A job was done, but the broker could not be told: %s", e)
        finally:
            if self.desk is not None:
                self.desk.released(claim)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """kombu builds a client for each publish, a fifth of its cost; one serves as well, its pool is shared."""
        if self._publisher is None:
            self._publisher = self._create_client()
        yield client or self._publisher

    def _receive(self) -> bool:
        """All control messages that have come; one that is not understood is left out, and the next one read."""
        client = self.subclient
        received = False
        while True:
            with suppress(Empty):
                received |= bool(self._receive_one(client))
            if client.connection is None or not client.connection.can_read(timeout=0):
                return received

    def _receive_one(self, client: Any) -> Any:
        """As kombu does, whom a message that is nested deeply, or lacks a field, would end together with its worker."""
        try:
            return super()._receive_one(client)
        except (Empty, *self.connection_errors):
            raise
        except Exception as e:
            log.warning("A control message is not understood, and left out: %s", type(e).__name__)
            raise Empty from None

    def _brpop_start(self, timeout: float | None = None) -> None:
        """A worker fetches nothing without a grant. Others (inspect, Flower) read the answers sent to them."""
        if self.desk is None:
            super()._brpop_start(timeout)

    def _size(self, queue: str) -> int:
        if self.lanes is None:
            return int(super()._size(queue))
        return self.lanes.lengths([queue])[queue]

    def close(self) -> None:
        if self.desk is not None:
            self.desk.detach(self)
        super().close()


class Poller(stock.MultiChannelPoller):  # type: ignore[misc]  # kombu is untyped
    """Polls the connections that listen for control commands; of a worker, no queue."""

    def _register_BRPOP(self, channel: Channel) -> None:
        if channel.desk is None:
            super()._register_BRPOP(channel)

    def maybe_restore_messages(self) -> None:
        pass

    def on_poll_init(self, poller: Any) -> None:
        self.poller = poller


class Transport(stock.Transport):  # type: ignore[misc]  # kombu is untyped
    Channel = Channel
    hub: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.hub = loop
        super().register_with_event_loop(connection, loop)
