"""Messages in Postgres: send, claim, acknowledge, refuse, list, replay, erase. Each change is one committed statement,
or a part of the caller's transaction.

Delivered at least once: a claim is a lease, and what is not acknowledged within it is delivered again. Handled once in
effect: only the newest lease can acknowledge, and `handling` does so in the transaction of the handler's own effects.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row

from hotset.errors import CannotDecrypt, IdempotencyConflict, InvalidMessage, LeaseLost
from hotset.messaging.message import LARGEST_BODY, Claimed, Delivery, MessageView, NewMessage, Wanted
from hotset.store.cipher import Cipher
from hotset.store.engine import connected, rows, sql
from hotset.store.line import Line

#: Wall seconds: the back-off of a refused message doubles from the first to the longest.
BACKOFF_S, BACKOFF_LONGEST_S = 1.0, 300.0
#: Subscribers of a topic: what one statement writes at the most.
MOST_SUBSCRIBERS = 10_000
#: What one statement of the retention deletes, and of a replay.
_BATCH = 500


class MessageStore:
    """The messages of one tenant. `relaxed`: an engine whose commits a crash of the database may lose, for leases: one
    that was lost is drawn again, and the old one acknowledges nothing. `cipher`: bodies pass through it, on their way
    into the table and out of it."""

    def __init__(
        self,
        engine: Engine,
        *,
        tenant: str,
        actor: str,
        relaxed: Engine | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        self.engine = engine
        self._cipher = cipher or Cipher()
        self.tenant = tenant
        self._actor = actor
        self._relaxed = relaxed or engine
        # For what each message needs.
        self._sends, self._acks, self._claims = Line(engine), Line(engine), Line(self._relaxed)

    # ---- sending ---------------------------------------------------------------------------------------------

    def send(self, messages: Sequence[NewMessage], within: Connection | None = None) -> list[UUID]:
        """Send all of them or none; their ids, in order. `within`: as a part of that connection's transaction.

        A key that exists with the same content gives the id of what was sent then; with another it raises
        IdempotencyConflict and nothing is sent.
        """
        document = json.dumps([self._row(place, m) for place, m in enumerate(messages)], separators=(",", ":"))
        parameters = {"tenant": self.tenant, "rows": document}
        if within is None and all(m.key is None for m in messages):
            self._sends.rows("send", parameters, room=_ROOM)
            return [m.id for m in messages]
        with self._transaction(within) as connection:
            sent = {r.id for r in connection.exec_driver_sql(_sql("send"), parameters).all()}
            return [m.id if m.id in sent else self._sent_before(connection, m).message for m in messages]

    def publish(self, message: NewMessage, within: Connection | None = None) -> list[str]:
        """Put it into the inbox of each subscriber of its topic, in one statement; whose. With a key that exists it is
        nobody's: they have it."""
        parameters = {
            "tenant": self.tenant,
            "sender": message.sender,
            "topic": message.topic,
            "id": message.id,
            "body": self._kept(message),
            "job": message.job,
            "key": message.key,
            "body_hash": self._cipher.digests(message.body_hash)[0],
            "max_deliveries": message.max_deliveries,
        }
        with self._transaction(within) as connection:
            found = connection.exec_driver_sql(_sql("publish"), parameters).one_or_none()
            if found is None:
                self._sent_before(connection, message)
                return []
            recipients: list[str] = found.recipients
            return recipients

    def _sent_before(self, connection: Connection, message: NewMessage) -> Row[Any]:
        parameters = {"tenant": self.tenant, "sender": message.sender, "key": message.key}
        known = connection.exec_driver_sql(_sql("keys"), parameters).one()
        if known.hash not in self._cipher.digests(message.body_hash):
            raise IdempotencyConflict(
                f"The key {message.key!r} of sender {message.sender!r} belongs to message {known.message}, "
                "which said something else.",
                remedy="Use another key for another message.",
            )
        return known

    # ---- receiving -------------------------------------------------------------------------------------------

    def claim(self, asked: Sequence[Wanted]) -> list[Claimed]:
        """What each of these inboxes gave, in their order: all of them in one statement."""
        document = json.dumps([{"place": place, **asdict(wanted)} for place, wanted in enumerate(asked)])
        parameters = {"tenant": self.tenant, "asked": document, "actor": self._actor}
        given: list[list[Delivery]] = [[] for _ in asked]
        claimed = [Claimed(())] * len(asked)
        for r in self._claims.rows("claim", parameters, room=_ROOM):
            if r.id is None:
                claimed[r.place] = Claimed(tuple(given[r.place]), more=r.more, again_in_s=r.in_s)
            else:
                given[r.place].append(self._delivery(r, asked[r.place].recipient))
        return claimed

    def _delivery(self, r: Row[Any], recipient: str) -> Delivery:
        body, unreadable = self._said(r)
        return Delivery(
            r.id, r.sender, recipient, r.topic, body, r.job, r.attempts, r.sent_at, r.lease, unreadable=unreadable
        )

    def ack(self, delivery: Delivery, within: Connection | None = None) -> None:
        """It is handled. `within`: if that connection's transaction commits. Raises LeaseLost."""
        parameters = {"id": delivery.id, "lease": delivery.lease, "again": within is None}
        if within is None:
            # Asked twice: who waited for a transaction that handled it sees that by a new statement only.
            done = self._rows("ack", parameters) or self._rows("ack", parameters)
        else:
            done = list(within.exec_driver_sql(_sql("ack"), parameters).all())
        if not done:
            raise LeaseLost(delivery.id)

    def ack_together(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """They are handled, by one commit. False: not that one, and `ack` says why: its lease was lost, or another
        transaction has it locked, for which the others do not wait."""
        document = json.dumps([{"id": str(d.id), "lease": str(d.lease)} for d in deliveries])
        done = {r.id for r in self._acks.rows("ack_together", {"held": document}, room=_ROOM)}
        return [d.id in done for d in deliveries]

    @contextmanager
    def handling(self, delivery: Delivery) -> Iterator[Connection]:
        """A transaction that acknowledges the message; what else is done in it counts if and only if that does.

        Raises LeaseLost before anything is done, and lets through what the block raises: then nothing has happened.
        """
        with self._transaction(None) as connection:
            # First, so that the row is locked: nobody else is given the message, however long this takes.
            self.ack(delivery, connection)
            yield connection

    def nack(self, delivery: Delivery, *, reason: str, delay_s: float | None) -> bool:
        """Deliver it again after the delay, or a back-off; False: it is a dead letter now. Raises LeaseLost."""
        parameters = {
            "id": delivery.id,
            "lease": delivery.lease,
            "reason": reason,
            "delay_s": delay_s,
            "backoff_s": BACKOFF_S,
            "longest_s": BACKOFF_LONGEST_S,
            "actor": self._actor,
        }
        found = self._rows("nack", parameters)
        if not found:
            raise LeaseLost(delivery.id)
        return bool(found[0].state == "open")

    def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> set[UUID]:
        """Their leases end so many wall seconds from now; those that were still held."""
        return {r.id for r in rows(self._relaxed, "extend", {**_held(deliveries), "lease_s": lease_s}, room=_ROOM)}

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Hand back what nobody looked at; it counts as no delivery."""
        with connected(self._relaxed) as connection:
            connection.exec_driver_sql(_sql("release"), _held(deliveries))

    def waiting(self, recipients: Collection[str]) -> list[str]:
        """Those of these inboxes that may hold something to be had now."""
        found = self._rows("waiting", {"tenant": self.tenant, "recipients": list(recipients)})
        return [r.recipient for r in found]

    # ---- topics ----------------------------------------------------------------------------------------------

    def subscribe(self, topic: str, subscriber: str) -> bool:
        """False: it was subscribed. Raises InvalidMessage when the topic is full."""
        parameters = {"tenant": self.tenant, "topic": topic, "subscriber": subscriber, "most": MOST_SUBSCRIBERS}
        if self._rows("subscribe", parameters):
            return True
        if subscriber in self.topics(topic).get(topic, ()):
            return False
        raise InvalidMessage(
            f"Topic {topic!r} has {MOST_SUBSCRIBERS:,} subscribers, as many as one may have.",
            remedy="Split it into several topics.",
        )

    def unsubscribe(self, topic: str, subscriber: str) -> bool:
        """False: it was not subscribed."""
        return bool(self._rows("unsubscribe", {"tenant": self.tenant, "topic": topic, "subscriber": subscriber}))

    def topics(self, topic: str | None = None) -> dict[str, list[str]]:
        """Topic -> subscribers; all topics, or that one."""
        found: dict[str, list[str]] = {}
        for r in self._rows("topics", {"tenant": self.tenant, "topic": topic}):
            found.setdefault(r.topic, []).append(r.subscriber)
        return found

    # ---- looking after them ----------------------------------------------------------------------------------

    def find(
        self,
        *,
        states: Collection[str] | None,
        leased: bool | None,
        recipient: str | None,
        sender: str | None,
        topic: str | None,
        after: UUID | None,
        limit: int,
    ) -> list[MessageView]:
        """The newest that match, without bodies; `after`: older than that one. `states`: open, handled, dead;
        `leased`: of the open ones, those that are to be had later, or now."""
        before = None
        if after is not None and (row := self._one(after)) is not None:
            before = row.seq
        parameters = {
            "tenant": self.tenant,
            "states": None if states is None else list(states),
            "leased": leased,
            "recipient": recipient,
            "sender": sender,
            "topic": topic,
            "before": before,
            "limit": limit,
        }
        return [_view(r) for r in self._rows("list", parameters)]

    def get(self, message_id: UUID) -> MessageView | None:
        """The message with its body; None: the tenant has none of that id (any more)."""
        row = self._one(message_id)
        if row is None:
            return None
        body, unreadable = self._said(row)
        return replace(_view(row), body=body, unreadable=None if unreadable is None else str(unreadable))

    def replay(self, ids: Collection[UUID] | None, *, recipient: str | None = None) -> list[tuple[UUID, str]]:
        """Dead letters wait again, as if sent now: (id, recipient) of each. All of them, unless ids are given."""
        parameters = {
            "tenant": self.tenant,
            "ids": None if ids is None else list(ids),
            "recipient": recipient,
            "actor": self._actor,
            "limit": _BATCH,
        }
        replayed: list[tuple[UUID, str]] = []
        while found := self._rows("replay", parameters):
            replayed += [(r.id, r.recipient) for r in found]
        return replayed

    def erase(self, message_id: UUID) -> bool:
        """Delete a message, whatever its state; False: there is none."""
        return bool(self._rows("erase", {"tenant": self.tenant, "id": message_id, "actor": self._actor}))

    def _one(self, message_id: UUID) -> Row[Any] | None:
        found = self._rows("show", {"tenant": self.tenant, "id": message_id})
        return found[0] if found else None

    # ---- how -------------------------------------------------------------------------------------------------

    def _row(self, place: int, message: NewMessage) -> dict[str, Any]:
        return {
            "place": place,
            "id": str(message.id),
            "sender": message.sender,
            "recipient": message.recipient,
            "topic": message.topic,
            "body": self._kept(message),
            "job": None if message.job is None else str(message.job),
            "max_deliveries": message.max_deliveries,
            "key": message.key,
            "body_hash": None if message.key is None else self._cipher.digests(message.body_hash)[0],
        }

    def _kept(self, message: NewMessage) -> str:
        body = self._cipher.encrypt_json(message.body)
        if len(body.encode()) > LARGEST_BODY:
            raise InvalidMessage(
                f"The body has {len(body):,} bytes once it is encrypted, over the limit of {LARGEST_BODY:,}.",
                remedy="Send where it can be found (a job's id, say).",
            )
        return body

    def _said(self, r: Row[Any]) -> tuple[Any, CannotDecrypt | None]:
        """The body of a message; or None, and why it cannot be read here."""
        what = f"Message {r.id}"
        try:
            body = self._cipher.decrypt_json(r.body, what)
            if r.id == r.job and isinstance(body, Mapping) and isinstance(body.get("text"), str):
                # A job's answer: Postgres copied it from the result, as it is kept there.
                body = {**body, "text": self._cipher.decrypt(body["text"], what, cut="cut" in body)}
            return body, None
        except CannotDecrypt as e:
            return None, e

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[Row[Any]]:
        return rows(self.engine, name, parameters, room=_ROOM)

    @contextmanager
    def _transaction(self, within: Connection | None) -> Iterator[Connection]:
        if within is not None:
            yield within
            return
        with connected(self.engine) as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection


def remove_batch(engine: Engine, *, actor: str, keep_days: int) -> int:
    """Delete some messages of all tenants that ended, and keys that were used, longer ago; how many rows went."""
    if keep_days == 0:
        return 0
    found = rows(engine, "retain", {"actor": actor, "keep_days": keep_days, "limit": _BATCH}, room=_ROOM)[0]
    return int(found.messages + found.keys)


def erase_tenant(engine: Engine, *, tenant: str, actor: str) -> int:
    """Delete all messages of a tenant, whatever their state; how many. What it has done stays done: call it again."""
    done = 0
    while True:
        found = rows(engine, "erase_tenant", {"tenant": tenant, "actor": actor, "limit": _BATCH}, room=_ROOM)[0]
        done += int(found.messages)
        if found.messages < _BATCH:
            return done


_ROOM = __package__


def _sql(name: str) -> str:
    return sql(name, _ROOM)


def _held(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    return {"ids": [d.id for d in deliveries], "leases": [d.lease for d in deliveries]}


def _view(r: Row[Any]) -> MessageView:
    return MessageView(
        id=r.id,
        tenant=r.tenant,
        sender=r.sender or None,
        recipient=r.recipient,
        topic=r.topic,
        state=r.state,
        attempts=r.attempts,
        max_deliveries=r.max_deliveries,
        sent_at=r.sent_at,
        ended_at=r.ended_at,
        reason=r.reason,
        job=r.job,
        bytes=r.bytes,
    )
