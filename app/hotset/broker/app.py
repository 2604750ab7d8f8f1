"""The Celery application: JSON only, the fleet's queues, our transport, no result backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Exchange, Queue

from hotset.broker.grants import GrantDesk
from hotset.broker.lanes import Lanes
from hotset.broker.subscription import PATIENCE
from hotset.broker.transport import SCHEME
from hotset.errors import InvalidSettings

#: Wall seconds between two attempts to connect, and by how much the next pause is longer. kombu's own are 2 s more each
#: time, up to 30: a broker that was away for minutes would be back for half a minute before its workers noticed.
_PAUSE_S, _LONGER_S, _LONGEST_S = 0.5, 0.5, 2.0


class SteadyConnection(Connection):  # type: ignore[misc]  # kombu is untyped
    """One that is soon made again when the broker is back."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        pauses = {"interval_start": _PAUSE_S, "interval_step": _LONGER_S, "interval_max": _LONGEST_S}
        return super().ensure_connection(*args, **{**pauses, **kwargs})


class _Amqp(AMQP):  # type: ignore[misc]  # celery is untyped
    Connection = BrokerConnection = SteadyConnection


def make_app(
    broker_url: str, queues: Iterable[str], *, lanes: Lanes | None = None, desk: GrantDesk | None = None
) -> Celery:
    """The application that workers, Flower and plain producers share. Only a worker has a desk."""
    names = list(queues)
    app = Celery("hotset", set_as_current=False, amqp=_Amqp)
    app.conf.update(
        broker_url=celery_url(broker_url),
        broker_connection_retry_on_startup=True,
        # 100 by default, after which a worker gives up for good.
        broker_connection_max_retries=None,
        # A Redis that lives and takes no changes (its disk is full) answers with such errors. A worker that connects
        # just then would end for good.
        broker_channel_error_retry=True,
        # kombu's own default waits for ever on a connection that leads nowhere, and the worker with it.
        broker_transport_options={"desk": desk, "lanes": lanes, "priority_steps": [0], **PATIENCE},
        broker_use_ssl=celery_tls(broker_url),
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        # Postgres is the truth; a result backend would be a second one.
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Their claims outlive the connection (see `transport`): what runs goes on. Celery 6 would cancel it.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_create_missing_queues=False,
        task_default_queue=names[0],
        task_default_exchange="",
        # The default exchange: a publish needs no binding in Redis that a flush could drop without a word.
        task_queues=[Queue(name, Exchange("", type="direct"), routing_key=name) for name in names],
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def celery_url(broker_url: str) -> str:
    """The broker's address under our scheme; TLS is another matter (`celery_tls`).

    Raises InvalidSettings for another scheme, and for parameters that Celery would not understand as redis-py does.
    """
    parts = urlsplit(broker_url)
    if parts.scheme not in ("redis", "rediss"):
        raise InvalidSettings(
            f"broker_url has the scheme {parts.scheme!r}.",
            remedy="It looks like redis://127.0.0.1:6379/0, or rediss://... for TLS.",
        )
    for name, _ in parse_qsl(parts.query):
        if not name.startswith("ssl_") or parts.scheme == "redis":
            raise InvalidSettings(
                f"broker_url has the parameter {name!r}.",
                remedy="Only rediss:// takes any, those that begin with ssl_: rediss://host:6379/0?ssl_ca_certs=ca.pem",
            )
    return parts._replace(scheme=SCHEME, query="").geturl()


def celery_tls(broker_url: str) -> dict[str, Any] | None:
    """redis-py's ssl_* arguments for a rediss:// address; None without TLS. The certificate is checked, with the
    host's name, unless the address says otherwise."""
    if urlsplit(broker_url).scheme != "rediss":
        return None
    try:
        found: dict[str, Any] = redis.connection.parse_url(broker_url)  # type: ignore[no-untyped-call]
    except ValueError:
        # Not chained: the message of the cause would show the password.
        raise InvalidSettings("broker_url is not a Redis URL.", remedy="It looks like rediss://host:6379/0.") from None
    return {"ssl_cert_reqs": "required"} | {k: v for k, v in found.items() if k.startswith("ssl_")}
