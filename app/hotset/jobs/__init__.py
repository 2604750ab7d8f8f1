"""Jobs: states and legal transitions, priorities, durations, retries. Frozen data and pure functions."""

from hotset.jobs.durations import parse_duration
from hotset.jobs.job import JOB_OPTIONS, Attempt, JobResult, JobView, NewJob, Outcome, Routing
from hotset.jobs.priorities import Priority, parse_priority
from hotset.jobs.retry import RetryPolicy, next_attempt_in
from hotset.jobs.states import OPEN, TERMINAL, TRANSITIONS, WAITING, State, legal

__all__ = [
    "JOB_OPTIONS",
    "OPEN",
    "TERMINAL",
    "TRANSITIONS",
    "WAITING",
    "Attempt",
    "JobResult",
    "JobView",
    "NewJob",
    "Outcome",
    "Priority",
    "RetryPolicy",
    "Routing",
    "State",
    "legal",
    "next_attempt_in",
    "parse_duration",
    "parse_priority",
]
