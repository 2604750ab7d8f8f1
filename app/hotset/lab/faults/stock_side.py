"""Stock Celery under a fault: the application of `stock_app`, on the same servers."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping, Sequence

import psycopg
import redis
from celery import Celery

from hotset.errors import Unavailable
from hotset.lab.faults.side import Side
from hotset.lab.faults.stock_app import EFFECTS, TASK, make_stock_app
from hotset.lab.stage import Running
from hotset.lab.stock import broker_beside

#: The visibility timeout, in longest jobs, unless a fault says it.
_ABOVE = 1.5
_READY_S = 90.0


class Stock(Side):
    """Workers of as many processes as a GPU has slots; of threads where that would be more than a few."""

    name = "celery"
    _PROCESSES = 4

    def _open(self) -> None:
        self.broker_url = broker_beside(self.addresses.broker_url)
        # Who knows how long jobs run sets it above; less, and they run again while they run.
        longest = max(self.load.lease_s, _ABOVE * self.load.run_s[1])
        self.visibility_s = self.load.visibility_s or longest
        self._accepted: list[str] = []
        self.app = make_stock_app(self.broker_url, visibility_s=self.visibility_s)
        self._held.callback(self.app.close)
        self._redis = self._held.enter_context(redis.Redis.from_url(self.broker_url))
        with psycopg.connect(self.addresses.database_url, autocommit=True) as connection:
            connection.execute(EFFECTS)

    def submit(self, runs_s: Sequence[float]) -> None:
        self.submit_through(self.app, runs_s)

    def submit_through(self, app: Celery, runs_s: Sequence[float]) -> None:
        task = app.tasks[TASK]
        for run_s in runs_s:
            job = f"job-{next(self._numbers)}"
            task.apply_async(kwargs={"job": job, "model": self.model, "run_s": run_s})
            self._accepted.append(job)

    def _start(self, gpu: str) -> Running:
        environ = {
            "FAULTS_BROKER": self.broker_url,
            "FAULTS_DATABASE": self.addresses.database_url,
            "FAULTS_SERVER": f"http://127.0.0.1:{self.ports[gpu]}",
            "FAULTS_VISIBILITY_S": f"{self.visibility_s:g}",
        }
        pool = "prefork" if self.load.slots <= self._PROCESSES else "threads"
        words = ["-P", pool, "-c", str(self.load.slots), "-n", f"{gpu}@%h", "-l", "WARNING"]
        process = self.stage.start_celery("hotset.lab.faults.stock_app", words, environ)
        name = f"{gpu}@{socket.gethostname()}"
        if not self.until(lambda: bool(self.app.control.ping([name], timeout=1.0, limit=1)), within_s=_READY_S):
            process.check()
            raise Unavailable(f"A Celery worker was not ready within {_READY_S:g} s.")
        return process

    def ended(self) -> int:
        return len(self._effects())

    def waiting(self) -> int:
        return int(self._redis.llen("celery"))

    def open(self) -> int:
        """A message that is held may be done, and that worker dead; as long as the broker has it, it is not lost."""
        try:
            held = self._redis.hvals("unacked")
            return int(self._redis.llen("celery")) + len(held)
        except redis.RedisError:
            return 1

    def _effects(self) -> Mapping[str, int]:
        with psycopg.connect(self.addresses.database_url, autocommit=True) as connection:
            return dict(connection.execute("SELECT job, count(*) FROM effects GROUP BY job").fetchall())

    def _outcome(self) -> dict[str, float]:
        held = self._messages()  # first: what is done and acknowledged after this look is among the effects
        effects = self._effects()
        missing = set(self._accepted) - effects.keys()
        unfinished = missing & held
        return {
            "accepted": len(self._accepted),
            "succeeded": len(effects),
            "unfinished": len(unfinished),
            "lost": len(missing) - len(unfinished),
            "committed_twice": sum(n > 1 for n in effects.values()),
        }

    def _messages(self) -> set[str]:
        """Jobs whose message the broker still has, waiting or held."""
        found = set()
        for raw in [*self._redis.lrange("celery", 0, -1), *self._redis.hvals("unacked")]:
            message = json.loads(raw)
            body = (message[0] if isinstance(message, list) else message)["body"]
            found.add(json.loads(base64.b64decode(body))[1]["job"])
        return found
