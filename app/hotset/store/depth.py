"""Limits on open jobs, kept in the transaction that accepts: however many submit at once, there are never more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from hotset.errors import RateLimited
from hotset.jobs.limits import Demand
from hotset.store.engine import sql

#: Wall seconds over which ends are counted, to tell how soon there will be room; and the bounds of what is told.
_WITHIN_S = 60.0
_SOONEST_S, _LATEST_S, _UNKNOWN_S = 0.2, 600.0, 5.0


def check_room(connection: Connection, demands: Sequence[Demand]) -> None:
    """Within the caller's transaction; it holds a lock on each scope until it ends, so others of the scope wait.

    Raises RateLimited when one of them has no room.
    """
    # In one order everywhere, or two submissions could wait for each other.
    for demand in sorted(demands, key=lambda d: (d.scope, d.name)):
        scope = {"scope": demand.scope, "name": demand.name}
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended('hotset.depth.' || %(scope)s || '.' || %(name)s, 0))", scope
        )
        row = connection.exec_driver_sql(sql("depth"), {**scope, "within_s": _WITHIN_S}).one()
        if row.open + demand.amount <= demand.most:
            continue
        if demand.amount > demand.most:
            raise RateLimited(f"{demand}, and {demand.amount:,} were submitted together.", retry_after_s=None)
        excess = row.open + demand.amount - demand.most
        wait_s = _UNKNOWN_S if not row.ended else min(max(excess * _WITHIN_S / row.ended, _SOONEST_S), _LATEST_S)
        raise RateLimited(f"{demand}, and has {row.open:,}.", retry_after_s=wait_s)
