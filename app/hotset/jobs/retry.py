"""What follows a failed attempt: a pure function from the error and the job's counts to a decision."""

from __future__ import annotations

from dataclasses import dataclass

#: More would overflow a float; every bound is reached long before.
_MOST_DOUBLINGS = 1000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `max_retries` retries; the n-th waits `backoff_s` × 2^(n-1), at most `max_backoff_s` (model seconds)."""

    max_retries: int = 3
    backoff_s: float = 2.0
    max_backoff_s: float = 300.0


def next_attempt_in(policy: RetryPolicy, *, retryable: bool, failures: int, jitter: float) -> float | None:
    """Model seconds until the next attempt, or None when the job has failed for good.

    `failures` counts failed attempts before this one; `jitter` in [0, 1) spreads retries over the upper half of the
    back-off, so that jobs that failed together do not come back together (source: "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015, "equal jitter").
    """
    if not retryable or failures >= policy.max_retries:
        return None
    full = min(policy.backoff_s * 2.0 ** min(failures, _MOST_DOUBLINGS), policy.max_backoff_s)
    return full / 2 + jitter * full / 2
