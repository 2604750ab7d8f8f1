"""Faults: what is broken on purpose, under which load, and what must hold; hotset and stock Celery alike.

    run_fault(1, Hotset, stage, length="quick", say=print)   # its figures, see `side`

The tests of `tests/chaos` and `hotset bench faults` run the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from hotset.errors import UsageError
from hotset.lab.faults import broker, database, workers
from hotset.lab.faults.hotset_side import Hotset
from hotset.lab.faults.side import Load, Side
from hotset.lab.faults.stock_side import Stock
from hotset.lab.stage import Stage

__all__ = ["FAULTS", "Fault", "Hotset", "Length", "Load", "Stock", "run_fault"]

Length = Literal["least", "quick", "full"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`full`: the load that docs/reliability.md names; `quick`: the same in a minute at most; `least`: in seconds.
    `stock`: whether it means anything to stock Celery. `own_servers`: it breaks the servers themselves."""

    title: str
    break_it: Callable[[Side, Callable[[str], None]], None]
    least: Load
    quick: Load
    full: Load

    def load(self, length: Length) -> Load:
        return {"least": self.least, "quick": self.quick, "full": self.full}[length]

    stock: bool = True
    own_servers: bool = False


FAULTS: Mapping[int, Fault] = {
    1: Fault(
        "SIGKILL of the worker's process group, at random",
        workers.kill_under_load,
        least=Load(jobs=60, run_s=(0.05, 0.4), times=1, every_s=1.0, lease_s=2.0, patience_s=40.0),
        quick=Load(jobs=200, run_s=(0.05, 0.4), times=4, every_s=1.0, lease_s=2.0, patience_s=40.0),
        full=Load(jobs=20_000, run_s=(0.02, 0.2), times=200, every_s=3.0, lease_s=3.0, patience_s=150.0),
    ),
    2: Fault(
        "all broker connections are cut, again and again",
        broker.cut_every_connection,
        least=Load(jobs=24, run_s=(1.5, 2.5), slots=8, times=2, every_s=1.5, lease_s=5.0, patience_s=30.0),
        quick=Load(jobs=100, run_s=(5.0, 7.0), slots=16, times=6, every_s=5.0, lease_s=10.0, patience_s=30.0),
        full=Load(jobs=1600, run_s=(5.0, 7.0), slots=16, times=120, every_s=5.0, lease_s=15.0, patience_s=150.0),
    ),
    3: Fault(
        "SIGKILL in mid-job, another worker is idle",
        workers.kill_in_mid_job,
        least=Load(jobs=2, run_s=(4.0, 4.0), gpus=2, times=1, lease_s=2.0, patience_s=30.0),
        quick=Load(jobs=2, run_s=(6.0, 6.0), gpus=3, times=3, lease_s=2.0, patience_s=30.0),
        full=Load(jobs=2, run_s=(30.0, 30.0), gpus=3, times=50, lease_s=10.0, patience_s=150.0),
    ),
    4: Fault(
        "none: jobs run 20 times as long as the lease",
        workers.outlive_leases,
        least=Load(jobs=8, run_s=(6.0, 6.0), slots=8, lease_s=1.0, patience_s=30.0, visibility_s=1.0),
        quick=Load(jobs=50, run_s=(20.0, 20.0), slots=50, lease_s=1.0, patience_s=30.0, visibility_s=1.0),
        full=Load(jobs=50, run_s=(200.0, 200.0), slots=50, lease_s=10.0, patience_s=300.0, visibility_s=10.0),
    ),
    5: Fault(
        "Postgres is killed, at claim, while running, at finish",
        database.break_database,
        least=Load(jobs=40, run_s=(0.05, 2.0), slots=8, times=1, every_s=2.0, lease_s=2.0, patience_s=30.0),
        quick=Load(jobs=150, run_s=(0.05, 6.0), slots=16, times=3, every_s=5.0, lease_s=3.0, patience_s=30.0),
        full=Load(jobs=500, run_s=(0.05, 30.0), slots=16, times=3, every_s=60.0, lease_s=15.0, patience_s=120.0),
        stock=False,
        own_servers=True,
    ),
    6: Fault(
        "Redis is killed, then flushed, then its disk is full",
        broker.break_broker,
        least=Load(jobs=200, run_s=(0.2, 0.6), slots=16, lease_s=2.0, patience_s=40.0, visibility_s=20.0),
        quick=Load(jobs=1000, run_s=(0.2, 0.6), slots=20, lease_s=4.0, patience_s=40.0, visibility_s=20.0),
        full=Load(jobs=10_000, run_s=(0.2, 0.6), slots=20, lease_s=15.0, patience_s=150.0, visibility_s=70.0),
        own_servers=True,
    ),
    9: Fault(
        "submitters and relays die around their publish, replies to publishes are lost",
        broker.lose_publishes,
        least=Load(jobs=60, run_s=(0.01, 0.01), times=9, slots=8, lease_s=5.0, patience_s=20.0),
        quick=Load(jobs=500, run_s=(0.01, 0.01), times=60, slots=8, lease_s=5.0, patience_s=20.0),
        full=Load(jobs=10_000, run_s=(0.01, 0.01), times=1000, slots=8, lease_s=15.0, patience_s=120.0),
    ),
}


def run_fault(
    number: int,
    side: type[Side],
    stage: Stage,
    *,
    length: Length,
    share: float = 1.0,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Break it and count. `share`: of the jobs and of the times that the fault strikes, for lengths in between.

    Raises UsageError for a number that is none, and what the servers raise.
    """
    fault = FAULTS.get(number)
    if fault is None:
        known = ", ".join(map(str, FAULTS))
        raise UsageError(f"There is no fault {number} here.", remedy=f"There are {known}; docs/reliability.md.")
    load = fault.load(length).part(share)
    servers = stage.start_breakable() if fault.own_servers else None
    with side(stage, load, servers) as struck:
        fault.break_it(struck, say)
        return struck.figures()
