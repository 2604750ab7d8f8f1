"""What agents use to talk to each other: send, publish, subscribe, receive; and what operators do with messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import redis

from hotset.broker.replies import tell_inboxes
from hotset.client.inbox import Message, inbox
from hotset.client.steps import Each, Plan
from hotset.errors import HotsetError, InvalidMessage, UnknownMessage, did_you_mean
from hotset.messaging import Claimed, Delivery, MessageStore, MessageView, NewMessage, Wanted, new_message
from hotset.messaging.message import name
from hotset.together import Together

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hotset.client.listener import Listener
    from hotset.settings import Settings

log = logging.getLogger(__name__)

#: What lists may be asked for: the states that a row has, and for the open ones whether they are to be had now.
STATES: Mapping[str, tuple[tuple[str, ...], bool | None]] = {
    "open": (("open",), None),
    "waiting": (("open",), False),
    "leased": (("open",), True),
    "handled": (("handled",), None),
    "dead": (("dead",), None),
}
LONGEST_LEASE_S = 86_400.0
LARGEST_BATCH = 1000
#: Calls that one statement carries out for several callers, at the most.
_TOGETHER = 32

M = TypeVar("M")


class Messaging:
    """The part of a client that messages need. All of them belong to the client's tenant."""

    tenant: str
    settings: Settings
    _messages: MessageStore
    _listener: Listener
    #: Transactions of `Message.handling` that are open, by their connections' id(): whom to wake once they commit.
    _to_wake: dict[int, set[str]]
    #: What several threads and tasks want of Postgres at a time: see `Together`.
    _sends: Together[NewMessage, UUID]
    _claims: Together[Wanted, Claimed]
    _acks: Together[Delivery, bool]

    if TYPE_CHECKING:

        def _here(self) -> Any: ...

    # ---- sending ---------------------------------------------------------------------------------------------

    def send(
        self,
        to: str,
        body: Any,
        *,
        from_: str | None = None,
        topic: str | None = None,
        key: str | None = None,
        job: str | UUID | None = None,
        max_deliveries: int | None = None,
        within: Connection | None = None,
    ) -> str:
        """Put a message into an agent's inbox; its id. It is sent when this returns: its row is committed.

        `to` is any name: an agent of the catalogue, one of your own, a program that reads an inbox. `body` is JSON.
        `topic` says what it is about. The same `key` of the same `from_` sends it once. `within`: as a part of that
        connection's transaction (see `Message.handling`); it is sent if that commits.

        Messages from one sender to one recipient are delivered in the order in which they were sent, one at a time.
        Raises InvalidMessage, IdempotencyConflict (same key, another message), StoreUnavailable.
        """
        message = self._new(to, body, from_=from_, topic=topic, key=key, job=job, max_deliveries=max_deliveries)
        if within is not None or key is not None:
            return str(self._send([message], within)[0])
        return str(self._here()._sends.do(message))

    def send_many(self, messages: Iterable[Mapping[str, Any]], *, within: Connection | None = None) -> list[str]:
        """Send many, all of them or none, in their order: mappings with the names of `send`'s arguments."""
        checked: list[NewMessage] = []
        for row in messages:
            if not isinstance(row, Mapping) or not row.keys() >= {"to", "body"}:
                raise InvalidMessage(
                    f"Message {len(checked)} has no recipient or no body.", remedy='{"to": …, "body": …}'
                )
            if unknown := sorted(set(row) - _ARGUMENTS):
                hint = did_you_mean(unknown[0], _ARGUMENTS, "")
                known = hint if hint.startswith("Did") else f"There are {', '.join(sorted(_ARGUMENTS))}."
                raise InvalidMessage(f"A message has no {unknown[0]!r}.", remedy=known)
            checked.append(self._new(**row))
        return [str(sent) for sent in self._send(checked, within)] if checked else []

    def publish(
        self,
        topic: str,
        body: Any,
        *,
        from_: str | None = None,
        key: str | None = None,
        job: str | UUID | None = None,
        max_deliveries: int | None = None,
        within: Connection | None = None,
    ) -> int:
        """Put a message into the inbox of every subscriber of the topic; how many those are. In all else as `send`.

        Who subscribes later does not get it. A `key` that was used before sends nothing: 0.
        """
        message = self._new(None, body, from_=from_, topic=topic, key=key, job=job, max_deliveries=max_deliveries)
        recipients = self._here()._messages.publish(message, within)
        self._wake(recipients, within)
        return len(recipients)

    def subscribe(self, agent: str, topic: str) -> bool:
        """From now on the agent gets what is published on the topic; False: it did already."""
        return bool(self._here()._messages.subscribe(name(topic, "topic"), name(agent, "agent")))

    def unsubscribe(self, agent: str, topic: str) -> bool:
        """No more; what is in its inbox stays there. False: it was not subscribed."""
        return bool(self._here()._messages.unsubscribe(name(topic, "topic"), name(agent, "agent")))

    def topics(self, topic: str | None = None) -> dict[str, list[str]]:
        """Topics with their subscribers; all of them, or that one."""
        found: dict[str, list[str]] = self._here()._messages.topics(topic)
        return found

    # ---- receiving -------------------------------------------------------------------------------------------

    def inbox(
        self, agent: str, *, lease_s: float = 30.0, batch: int = 1, timeout: float | None = None
    ) -> Each[Message]:
        """The agent's messages as they come: `for msg in client.inbox("qa-team-lead"): ...; msg.ack()`.

        Each is held for `lease_s` wall seconds; what is not acknowledged by then is delivered again, to any consumer.
        Any number of consumers may share an inbox. Of each sender only the oldest message is given out, and the next
        when that has ended. `batch`: leases taken at once, of as many senders; what was not looked at goes back when
        the iteration ends. It ends when nothing came for `timeout` wall seconds (None: never; 0: when it is empty).
        Waiting costs no query: the client's one subscription tells of news, and one look every ten seconds serves all
        inboxes of the process. Raises InvalidMessage, StoreUnavailable (at its beginning; later it waits).
        """
        return Each(self._inbox(agent, partial(Message, self), lease_s=lease_s, batch=batch, timeout=timeout))

    def _inbox(
        self, agent: str, make: Callable[[Delivery], M], *, lease_s: float, batch: int, timeout: float | None
    ) -> Plan[M, None]:
        """`inbox` as a plan, for threads and tasks alike."""
        if not 0 < lease_s <= LONGEST_LEASE_S:
            raise InvalidMessage(f"lease_s={lease_s!r} is not between 0 and {LONGEST_LEASE_S:,.0f} s.")
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= LARGEST_BATCH:
            raise InvalidMessage(f"batch={batch!r} is not a number from 1 to {LARGEST_BATCH}.")
        return inbox(self, name(agent, "agent"), make, lease_s=lease_s, batch=batch, timeout=timeout)

    # ---- looking after them ----------------------------------------------------------------------------------

    def messages(
        self,
        *,
        state: str | None = None,
        to: str | None = None,
        from_: str | None = None,
        topic: str | None = None,
        after: str | UUID | None = None,
        limit: int = 50,
    ) -> list[MessageView]:
        """The newest messages that match, without bodies; `after`: older than that one.

        `state`: waiting, leased (or in a back-off), open (both), handled, dead. Raises InvalidMessage.
        """
        if state is not None and state not in STATES:
            raise InvalidMessage(f"There is no state {state!r}.", remedy=f"There are {', '.join(STATES)}.")
        states, leased = STATES[state] if state else (None, None)
        found: list[MessageView] = self._here()._messages.find(
            states=states,
            leased=leased,
            recipient=to,
            sender=from_,
            topic=topic,
            after=None if after is None else message_id(after),
            limit=limit,
        )
        return found

    def message(self, id: str | UUID) -> MessageView:
        """A message with its body, whatever its state. Raises UnknownMessage."""
        found: MessageView | None = self._here()._messages.get(message_id(id))
        if found is None:
            raise UnknownMessage(id)
        return found

    def replay_messages(self, ids: Collection[str | UUID] | None = None, *, to: str | None = None) -> list[str]:
        """Dead letters wait again, as if they were sent now; the ids of those that do. Audited.

        Those of these ids, or all (of that recipient). Each goes behind what waits of its sender.
        """
        wanted = None if ids is None else [message_id(id) for id in ids]
        replayed: list[tuple[UUID, str]] = self._here()._messages.replay(wanted, recipient=to)
        self._wake({recipient for _, recipient in replayed})
        return [str(id) for id, _ in replayed]

    def erase_message(self, id: str | UUID) -> None:
        """Delete a message for good, whatever its state; the audit says who did it. Raises UnknownMessage."""
        if not self._here()._messages.erase(message_id(id)):
            raise UnknownMessage(id)

    # ---- how -------------------------------------------------------------------------------------------------

    def _connect_messages(self, store: MessageStore) -> None:
        self._messages, self._to_wake = store, {}
        self._sends = Together(store.send, _TOGETHER, self._wake_for)
        self._claims = Together(store.claim, _TOGETHER)
        self._acks = Together(store.ack_together, _TOGETHER)

    def _new(self, to: str | None, body: Any, *, max_deliveries: int | None = None, **said: Any) -> NewMessage:
        return new_message(
            to,
            body,
            **{**dict.fromkeys(("from_", "topic", "key", "job")), **said},
            max_deliveries=self.settings.max_deliveries if max_deliveries is None else max_deliveries,
            max_bytes=self.settings.max_message_bytes,
        )

    def _send(self, messages: list[NewMessage], within: Connection | None) -> list[UUID]:
        sent: list[UUID] = self._here()._messages.send(messages, within)
        self._wake_for(messages, within)
        return sent

    def _wake_for(self, messages: Iterable[NewMessage], within: Connection | None = None) -> None:
        self._wake({m.recipient for m in messages if m.recipient is not None}, within)

    def _wake(self, agents: Collection[str], within: Connection | None = None) -> None:
        """Tell who waits at these inboxes. If the cache is away they look for themselves, a little later."""
        if within is not None:
            # Somebody else's transaction: nobody tells us when it commits, and the inboxes look for themselves.
            self._to_wake.get(id(within), set()).update(agents)
        elif agents:
            try:
                tell_inboxes(self._listener.redis, self.tenant, agents)
            except redis.RedisError as e:
                log.debug("%d inboxes hear of their messages later: %s", len(agents), e)

    def _refuse(self, delivery: Delivery, reason: str) -> None:
        """Its handler failed; that error is the one to be seen."""
        try:
            self._messages.nack(delivery, reason=reason, delay_s=None)
            self._wake({delivery.recipient})
        except HotsetError as e:
            log.debug("Message %s is delivered again when its lease ends: %s", delivery.id, e)


def message_id(text: str | UUID) -> UUID:
    """Raises UnknownMessage for what is no id at all."""
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise UnknownMessage(str(text)[:80]) from None


_ARGUMENTS = {"to", "body", "from_", "topic", "key", "job", "max_deliveries"}
