"""What docs/reliability.md promises, broken on purpose: `make chaos`. HOTSET_TEST_CHAOS=full for the length of its
table; in seconds as a part of `make test`.

The same code as `hotset bench faults`, which also does it to stock Celery: see `hotset.lab.faults`. Figures that name a
time are reported, and held to three times what they shall be: machines that test are slow and shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hotset.cli.stage import EmbeddedStage, open_stage
from hotset.lab.faults import FAULTS, Hotset, Load, run_fault
from lengths import FULL, LENGTH, always
from stack import PATIENCE

pytestmark = pytest.mark.timeout(3 * 3600 if FULL else 600)


@pytest.fixture(scope="module")
def stage() -> Iterator[EmbeddedStage]:
    with open_stage() as stage:
        yield stage


def struck(stage: EmbeddedStage, number: int) -> tuple[dict[str, float], Load]:
    """Its figures, of which these hold whatever is broken; and the load."""
    figures = run_fault(number, Hotset, stage, length=LENGTH, say=print)
    print(json.dumps({"fault": number, **figures}))
    assert figures["lost"] == figures["unfinished"] == figures["failed"] == figures["quarantined"] == 0, figures
    assert figures["committed_twice"] == 0 and figures["broken"] == 0, figures
    assert figures["succeeded"] >= figures["accepted"] > 0, figures
    return figures, FAULTS[number].load(LENGTH)


@always
def test_1_workers_are_killed_at_random(stage: EmbeddedStage) -> None:
    figures, load = struck(stage, 1)
    assert figures["hits"] >= load.times / 2, "too few kills struck a running job to show anything"


@always
def test_2_all_broker_connections_are_cut_again_and_again(stage: EmbeddedStage) -> None:
    figures, load = struck(stage, 2)
    assert figures["hits"] == load.times
    assert figures["started_twice"] <= 0.01 * figures["accepted"], figures
    assert figures["recover_s_p99"] <= PATIENCE * 5.0, figures


def test_3_a_job_whose_worker_was_killed_starts_elsewhere(stage: EmbeddedStage) -> None:
    figures, load = struck(stage, 3)
    assert figures["hits"] == load.times
    assert figures["recover_s_p99"] <= PATIENCE * 1.5 * load.lease_s, figures


@always
def test_4_jobs_that_outlive_their_leases_run_once(stage: EmbeddedStage) -> None:
    figures, _ = struck(stage, 4)
    assert figures["started_twice"] == 0, figures


@always
def test_5_the_database_is_killed(stage: EmbeddedStage) -> None:
    figures, load = struck(stage, 5)
    assert figures["hits"] == load.times
    assert figures["refused"] > 0 and figures["unclear"] == 0, figures
    assert figures["refused_s_max"] <= PATIENCE * 1.0, figures
    assert figures["recover_s_p99"] <= PATIENCE * 5.0, figures
    assert figures["cpu"] <= 0.5, "it spins while Postgres is away"


def test_6_the_broker_is_killed_flushed_and_its_disk_is_full(stage: EmbeddedStage) -> None:
    figures, _ = struck(stage, 6)
    assert figures["started_twice"] == 0, "what ran while the broker was away ran on"
    assert figures["refused"] == 0, "a submit needs no broker"
    assert figures["republished_s"] <= PATIENCE * 30.0, figures


@always
def test_9_submitters_and_relays_die_around_their_publish(stage: EmbeddedStage) -> None:
    figures, load = struck(stage, 9)
    assert figures["accepted"] == load.jobs + load.times, figures
    assert figures["started_twice"] == 0 and figures["rolled_back_runs"] == 0, figures
