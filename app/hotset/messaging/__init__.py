"""Messages between agents, in Postgres: inboxes with leases, topics, dead letters. SQL that matters is in `sql/`."""

from hotset.messaging.message import Claimed, Delivery, MessageView, NewMessage, Wanted, new_message
from hotset.messaging.store import MessageStore, erase_tenant, remove_batch

__all__ = [
    "Claimed",
    "Delivery",
    "MessageStore",
    "MessageView",
    "NewMessage",
    "Wanted",
    "erase_tenant",
    "new_message",
    "remove_batch",
]
