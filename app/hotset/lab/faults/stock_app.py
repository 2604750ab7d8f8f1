"""The stock Celery application that the faults strike: acks_late, what is lost with a worker comes again, prefetch 1.

    celery -A hotset.lab.faults.stock_app worker -c 2

Its task asks the model server and writes one row to Postgres, as a user's would: what was done twice is there twice.
FAULTS_BROKER, FAULTS_DATABASE, FAULTS_SERVER and FAULTS_VISIBILITY_S are set by the bench that starts it.
"""

from __future__ import annotations

import os
import threading

import httpx
import psycopg
from celery import Celery

TASK = "stock.run"
EFFECTS = "CREATE TABLE effects (job text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
_kept = threading.local()


def make_stock_app(broker_url: str, *, visibility_s: float, database_url: str = "", server: str = "") -> Celery:
    app = Celery("stock", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": visibility_s},
    )

    @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def run(job: str, model: str, run_s: float) -> None:
        """The answer, then its effect; connections are kept by each process or thread of the pool."""
        options = {"hotset_job": job, "hotset_run_s": run_s}
        body = {"model": model, "prompt": job, "options": options, "keep_alive": -1, "stream": False}
        _http(server).post("/api/generate", json=body).raise_for_status()
        _postgres(database_url).execute("INSERT INTO effects (job) VALUES (%s)", [job])

    return app


def _http(server: str) -> httpx.Client:
    if not hasattr(_kept, "http"):
        _kept.http = httpx.Client(base_url=server, timeout=600.0, trust_env=False)
    client: httpx.Client = _kept.http
    return client


def _postgres(url: str) -> psycopg.Connection[tuple[object, ...]]:
    if not hasattr(_kept, "postgres") or _kept.postgres.closed:
        _kept.postgres = psycopg.connect(url, autocommit=True)
    connection: psycopg.Connection[tuple[object, ...]] = _kept.postgres
    return connection


def __getattr__(name: str) -> Celery:
    """`app`, for `celery -A`: made when it is asked for, since the bench imports this file too."""
    if name != "app":
        raise AttributeError(name)
    return make_stock_app(
        os.environ["FAULTS_BROKER"],
        visibility_s=float(os.environ["FAULTS_VISIBILITY_S"]),
        database_url=os.environ["FAULTS_DATABASE"],
        server=os.environ["FAULTS_SERVER"],
    )
