"""A message as data, and the checks at its door: what was accepted can be stored, and is given back as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from hotset.errors import CannotDecrypt, InvalidMessage

LONGEST_NAME = 200
LONGEST_KEY = 500
LONGEST_REASON = 2000
#: Bytes that the table takes of a body.
LARGEST_BODY = 1_048_576
#: Lists and objects within each other that a body may have.
DEEPEST = 32


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A checked message. `body` is JSON text. Without a recipient it is for the subscribers of its topic."""

    id: UUID
    sender: str
    recipient: str | None
    topic: str | None
    body: str
    job: UUID | None
    key: str | None
    max_deliveries: int

    @property
    def body_hash(self) -> str:
        """SHA-256 (hex) over what was said, and to whom: the same key must mean the same."""
        said = [self.recipient, self.topic, self.body, None if self.job is None else str(self.job)]
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message under a lease: the right to handle it, until the lease ends. `attempts` counts this delivery, too.

    `unreadable`: why its body, which is None then, cannot be read here.
    """

    id: UUID
    sender: str
    recipient: str
    topic: str | None
    body: Any
    job: UUID | None
    attempts: int
    sent_at: datetime
    lease: UUID
    unreadable: CannotDecrypt | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of an inbox: leases of `lease_s` wall seconds for up to `most` messages of as many senders, from
    behind that one on."""

    recipient: str
    after: str | None
    most: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """What an inbox gave. `more` waits behind it; else look again in so many wall seconds, or when there is news."""

    deliveries: tuple[Delivery, ...]
    more: bool = False
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message as its tenant sees it. `state`: waiting, delayed (its back-off), leased, handled or dead.

    `reason`: why it was refused the last time. `body` is read for one message only, not for lists; `unreadable`: why it
    cannot be. `bytes`: of the body as it is kept.
    """

    id: UUID
    tenant: str
    sender: str | None
    recipient: str
    topic: str | None
    state: str
    attempts: int
    max_deliveries: int
    sent_at: datetime
    ended_at: datetime | None
    reason: str | None
    job: UUID | None
    bytes: int
    body: Any = None
    unreadable: str | None = None


def new_message(
    to: str | None,
    body: Any,
    *,
    from_: str | None,
    topic: str | None,
    key: str | None,
    job: str | UUID | None,
    max_deliveries: int,
    max_bytes: int,
) -> NewMessage:
    """A checked message. Raises InvalidMessage."""
    if to is None and topic is None:
        raise InvalidMessage("The message has neither a recipient nor a topic.", remedy="client.send(agent, body)")
    if isinstance(max_deliveries, bool) or not isinstance(max_deliveries, int) or not 1 <= max_deliveries <= 1000:
        raise InvalidMessage(f"max_deliveries={max_deliveries!r} is not a number from 1 to 1000.")
    return NewMessage(
        id=uuid7(),
        sender="" if from_ is None else name(from_, "from_"),
        recipient=None if to is None else name(to, "to"),
        topic=None if topic is None else name(topic, "topic"),
        body=_json(body, max_bytes),
        job=None if job is None else _job(job),
        key=None if key is None else name(key, "key", LONGEST_KEY),
        max_deliveries=max_deliveries,
    )


def name(value: object, what: str, longest: int = LONGEST_NAME) -> str:
    """A name of an agent or a topic, or a key. Raises InvalidMessage."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise InvalidMessage(f"{what}={str(value)[:80]!r} is not a text of 1 to {longest} characters.")
    return _storable(value, what)


def reason_of(value: object) -> str:
    """Why a message is refused, as it is kept."""
    return str(value).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:LONGEST_REASON]


def _json(body: object, max_bytes: int) -> str:
    _check(body)
    try:
        text = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as e:
        raise InvalidMessage(f"The body is not JSON: {e}.", remedy="Give texts, numbers, lists and objects.") from None
    if (size := len(text.encode())) > max_bytes:
        raise InvalidMessage(
            f"The body has {size:,} bytes of JSON, over the limit of {max_bytes:,}.",
            remedy="Send where it can be found (a job's id, say), or raise HOTSET_MAX_MESSAGE_BYTES.",
        )
    return text


def _check(body: object) -> None:
    """Its depth before anything recurses, and its texts."""
    level = [body]
    for _ in range(DEEPEST + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                if not all(isinstance(key, str) for key in value):
                    raise InvalidMessage("An object of the body has a name that is no text.", remedy="Use texts.")
                below += value.keys()
                below += value.values()
            elif isinstance(value, list | tuple):
                below += value
            elif isinstance(value, str):
                _storable(value, "body")
        if not below:
            return
        level = below
    raise InvalidMessage(f"The body is deeper than {DEEPEST} levels.", remedy="Flatten it.")


def _storable(text: str, what: str) -> str:
    """Postgres stores neither NUL nor lone surrogates."""
    if "\x00" in text:
        raise InvalidMessage(f"The {what} holds a NUL character.", remedy="Remove it; is it a binary file?")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidMessage(f"The {what} is not valid Unicode.", remedy="Decode it first.") from None
    return text


def _job(job: str | UUID) -> UUID:
    try:
        return job if isinstance(job, UUID) else UUID(job)
    except (ValueError, AttributeError, TypeError):
        raise InvalidMessage(f"job={str(job)[:80]!r} is not a job's id.") from None
