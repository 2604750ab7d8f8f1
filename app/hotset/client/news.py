"""What a waiting call may be told; the listener and the reader put these into its box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hotset.errors import HotsetError
from hotset.jobs import JobView
from hotset.store.waiting import Glance


@dataclass(frozen=True, slots=True)
class Seen:
    """How the job stands in Postgres."""

    glance: Glance


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has ended; `view` is the truth, with its result if it has one."""

    view: JobView


@dataclass(frozen=True, slots=True)
class Trouble:
    """The job could not be looked at: it is not there, or Postgres did not answer when the wait began."""

    job: UUID
    error: HotsetError


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the job's worker: it started, or tokens."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resubscribed:
    """The subscription stands (again): messages sent before may have been missed."""


@dataclass(frozen=True, slots=True)
class Loading:
    """A GPU began to load a model. `at`: epoch seconds of its worker's clock; None: some time ago."""

    gpu: str
    model: str
    at: float | None


@dataclass(frozen=True, slots=True)
class Mail:
    """The inbox that is waited at may hold something."""


News = Seen | Ended | Trouble | Heard | Resubscribed | Loading | Mail
