"""What every step of a run may use; made once per worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotset.agents import Registry
from hotset.agents.intake import Intake
from hotset.broker import Lanes, Replies
from hotset.fleet import Fleet
from hotset.jobs import RetryPolicy
from hotset.models import ModelServer
from hotset.store import JobStore
from hotset_worker.events import Event
from hotset_worker.runs import ActiveRuns


@dataclass(frozen=True, slots=True)
class Tools:
    worker: str
    store: JobStore
    registry: Registry
    intake: Intake
    fleet: Fleet
    server: ModelServer
    lanes: Lanes
    replies: Replies
    runs: ActiveRuns
    retry: RetryPolicy
    tell_owner: Callable[[Event], None]
    scale: float
    lease_s: float
    first_token_timeout_s: float
    stall_timeout_s: float
    simulated: bool
    #: The revision of a model that is loaded; "": nobody knows.
    digest: Callable[[str], str]
