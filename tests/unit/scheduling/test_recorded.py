"""What the policy decided once it decides again: recorded snapshots with the answers they got.

A rule that was changed on purpose changes answers: `record.py` beside this file writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotset_worker.decision_log import read_decisions

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.jsonl"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_decision_is_decided_alike(path: Path) -> None:
    for number, recorded in enumerate(read_decisions(path), start=1):
        assert recorded.again() == recorded.answer, (
            f"{path.name}:{number} is decided otherwise now. On purpose? python tests/unit/scheduling/record.py"
        )


def test_the_records_hold_decisions_of_every_kind() -> None:
    answers = [answer["decision"] for path in RECORDED for each in read_decisions(path) for answer in each.answer]
    assert {"Load", "Run", "Wait"} <= set(answers) and len(answers) >= 80
    assert sum(path.stat().st_size for path in RECORDED) < 200_000, "kept small"
