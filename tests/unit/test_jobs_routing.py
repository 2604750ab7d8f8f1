"""What the broker is told of a job."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from hotset.jobs import NewJob, Priority, Routing

NOW = datetime(2026, 11, 1, tzinfo=UTC)
JOB = Routing(UUID(int=1), "a", "qwen", "default", Priority.HIGH, arrived_at=NOW, deadline_at=NOW)


@pytest.mark.parametrize("priority", list(Priority))
def test_the_lane_is_the_priority(priority: Priority) -> None:
    assert replace(JOB, priority=priority).lane == priority.label


def test_a_suspect_runs_in_a_lane_of_its_own() -> None:
    assert replace(JOB, suspect=True).lane == "suspect"


def test_routing_says_nothing_of_what_was_asked() -> None:
    assert not {f.name for f in fields(Routing)} & {"prompt", "options", "metadata", "system"}


def test_jobs_are_frozen_and_share_no_defaults() -> None:
    one, two = (NewJob(UUID(int=n), "a", "qwen", "p") for n in (1, 2))
    with pytest.raises(AttributeError):
        one.prompt = "other"  # type: ignore[misc]
    assert one.options is not two.options
