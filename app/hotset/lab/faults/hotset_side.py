"""hotset under a fault: its client, its workers, its conservation auditor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hotset.client import Client
from hotset.errors import StoreUnavailable
from hotset.lab.faults.side import SCALE, Side
from hotset.lab.stage import Running
from hotset.settings import Settings
from hotset.store import make_engine
from hotset.store.conservation import audit_conservation
from hotset.store.engine import connected

#: How often, and after how many wall seconds, the bench itself asks a Postgres that is away again.
_PATIENT, _AGAIN_S = 100, 0.1
_AGENT = "log-aggregator-loki"


class Hotset(Side):
    name = "hotset"

    def _open(self) -> None:
        self.ids: list[str] = []
        self.settings = self.addresses.settings(self.fleet_path, scale=SCALE)
        self.client = self._held.enter_context(Client(settings=self.settings))
        self._engine = make_engine(self.addresses.database_url, application="hotset-faults", pool_size=2)
        self._held.callback(self._engine.dispose)

    def submit(self, runs_s: Sequence[float]) -> None:
        rows: list[dict[str, Any]] = [
            {"agent": _AGENT, "prompt": f"job {next(self._numbers)}", "options": _run(s)} for s in runs_s
        ]
        if len(rows) == 1:
            self.ids.append(str(self.client.submit(**rows[0]).id))
        else:
            self.ids += [str(job.id) for job in self.client.submit_many(rows)]

    def settings_through(self, broker_url: str) -> Settings:
        """For a client that reaches the broker by another way."""
        return replace(self.addresses, broker_url=broker_url).settings(self.fleet_path, scale=SCALE)

    def know_all(self) -> None:
        """Submitters that died told nobody what they had accepted: what is committed counts."""
        with self._engine.connect() as connection:
            self.ids = [str(i) for i in connection.exec_driver_sql("SELECT id FROM jobs").scalars()]

    @property
    def environ(self) -> dict[str, str]:
        """What a worker is told beside its addresses."""
        return {"HOTSET_LEASE_S": f"{self.load.lease_s:g}", "HOTSET_HEARTBEAT_S": f"{self.load.lease_s / 4:g}"}

    def _start(self, gpu: str) -> Running:
        return self.stage.start_worker(self.addresses, self.fleet_path, gpu, scale=SCALE, environ=self.environ)

    def ended(self) -> int:
        return self.one("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL")

    def open(self) -> int:
        return self.one("SELECT count(*) FROM jobs WHERE finished_at IS NULL")

    def waiting(self) -> int:
        return self.one("SELECT count(*) FROM jobs WHERE state = 'queued'")

    def one(self, query: str, *values: object) -> int:
        """A number. A Postgres that has just come back is asked again: old connections end with their first use."""
        for _ in range(_PATIENT):
            try:
                with connected(self._engine) as connection:
                    return int(connection.exec_driver_sql(query, values).scalar_one())
            except StoreUnavailable:
                time.sleep(_AGAIN_S)
        raise StoreUnavailable("Postgres has not come back.")

    def _outcome(self) -> dict[str, float]:
        proof = audit_conservation(self._engine)
        states = proof.balance.rows
        known = self.one("SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[])", self.ids)
        return {
            "accepted": len(self.ids),
            "succeeded": states["succeeded"],
            "failed": states["failed"],
            "quarantined": states["quarantined"],
            "unfinished": states["open"],
            "lost": len(self.ids) - known,
            "committed_twice": self.one(
                "SELECT count(*) FROM (SELECT job_id FROM audit WHERE action = 'succeeded'"
                " GROUP BY job_id HAVING count(*) > 1) AS twice"
            ),
            "crashes": self.one("SELECT coalesce(sum(crashes), 0) FROM jobs"),
            "broken": sum(b.count for i in proof.invariants for b in i.broken),
        }


def _run(seconds: float) -> dict[str, float]:
    return {"hotset_run_s": round(seconds, 3)}
