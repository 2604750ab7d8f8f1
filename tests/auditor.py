"""What the conservation auditor says at the end of a test that broke things."""

from __future__ import annotations

from hotset.store import make_engine
from hotset.store.conservation import audit_conservation


def conserved(database_url: str) -> dict[str, int]:
    """Jobs by their end, as the auditor counts them; AssertionError unless every invariant holds."""
    engine = make_engine(database_url, application="test-auditor", pool_size=1)
    try:
        found = audit_conservation(engine)
    finally:
        engine.dispose()
    assert found.whole, [invariant for invariant in found.invariants if not invariant.holds]
    return dict(found.balance.audit)
