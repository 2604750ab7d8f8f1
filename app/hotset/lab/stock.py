"""Stock Celery, as its documentation starts it: the measure that hotset is held against.

    celery -A hotset.lab.stock worker -c 2

HOTSET_STOCK_BROKER, HOTSET_STOCK_BACKEND (empty: results are ignored) and HOTSET_STOCK_SERVER (the model server) are
set by the bench that starts it.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx
from celery import Celery

from hotset.errors import Unavailable
from hotset.lab.stage import Running

TASK = "stock.run"
#: The database number of the same broker that stock Celery gets.
_BESIDE = 1
_READY_S = 30.0


def make_stock_app(broker_url: str, backend_url: str | None = None, server: str = "") -> Celery:
    """Everything is Celery's default but JSON in and the broker's address; without a backend results are ignored."""
    app = Celery("stock", broker=broker_url, backend=backend_url, set_as_current=False)
    app.conf.update(accept_content=["json"], task_ignore_result=backend_url is None)

    @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def run(model: str, prompt: str, **options: Any) -> str:
        """Ask the model server, as anybody would, over a connection that each process of the pool keeps."""
        body = {"model": model, "prompt": prompt, "options": options, "keep_alive": -1, "stream": False}
        return str(_http(server).post("/api/generate", json=body).raise_for_status().json()["response"])

    return app


def broker_beside(url: str) -> str:
    """The same Redis server, another database number."""
    return urlsplit(url)._replace(path=f"/{_BESIDE}").geturl()


def wait_until_ready(app: Celery, worker: Running) -> None:
    """Until a worker of the application, ours or a stock one, takes messages. Raises Unavailable."""
    deadline = time.monotonic() + _READY_S
    while not app.control.ping(timeout=1.0, limit=1):
        worker.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"A Celery worker was not ready within {_READY_S:g} s.")


@cache
def _http(server: str) -> httpx.Client:
    # As long as whoever does not want to lose a task would wait for a cold model behind a busy one.
    return httpx.Client(base_url=server, timeout=600.0, trust_env=False)


def __getattr__(name: str) -> Celery:
    """`app`, for `celery -A`: made when it is asked for, since a bench imports this file too."""
    if name != "app":
        raise AttributeError(name)
    return make_stock_app(
        os.environ["HOTSET_STOCK_BROKER"],
        os.environ["HOTSET_STOCK_BACKEND"] or None,
        os.environ["HOTSET_STOCK_SERVER"],
    )
