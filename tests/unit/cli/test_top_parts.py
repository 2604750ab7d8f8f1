"""`hotset top` without a fleet: which swap was for what, and what is drawn."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from hotset.broker import GpuState
from hotset.cli.top.eye import Moment, QueueLine, Swap, _what
from hotset.cli.top.frame import frame
from hotset.store.overview import Pulse, RunningJob
from hotset.store.pauses import Pause

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
IDLE = GpuState(name="gpu0", worker="w", vram_mb=3686, slots=2, speed=1.0, busy=0)


def holding(*models: str, swaps: int, loading: str | None = None, reason: str = "") -> GpuState:
    return replace(
        IDLE, residents=dict.fromkeys(models, (800.0, 0)), swaps=swaps, loading=loading, reason=reason, simulated=True
    )


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        (holding(swaps=0, loading="a", reason="for a"), holding("a", swaps=1, reason="for a"), ("a", "for a")),
        # The next load is decided already: the board's reason is that one's.
        (
            holding(swaps=0, loading="a", reason="for a"),
            holding("a", swaps=1, loading="b", reason="for b"),
            ("a", "for a"),
        ),
        (holding(swaps=0), holding("a", swaps=1, reason="for a"), ("a", "for a")),
        (
            holding(swaps=0),
            holding("a", swaps=1, loading="b", reason="for b"),
            ("a", "decided and done between two looks"),
        ),
        (holding("a", swaps=1), holding("a", "b", swaps=3, reason="for b"), ("b", "2 swaps between two looks")),
    ],
)
def test_a_swap_is_never_told_with_the_reason_of_another(
    was: GpuState, now: GpuState, what: tuple[str | None, str]
) -> None:
    assert _what(was, now) == what


MOMENT = Moment(
    at=NOW,
    scale=0.5,
    gpus={"gpu0": replace(holding("small", swaps=3, loading="large"), victims=("small",), busy=1)},
    silent=("gpu1",),
    queues=(QueueLine("quick", "small", 1234, 7, 61.5, 2), QueueLine("deep", "large", 0, 0, None, 0)),
    paused=(Pause("queue", "deep", NOW, "me", "new weights"), Pause("gpu", "gpu1", NOW, "me", "")),
    running=tuple(RunningJob(UUID(int=i), "t", "some-agent", "quick", "normal", 1, "gpu0@h:1", 3.0) for i in range(30)),
    pulse=Pulse(60.0, {"succeeded": 30, "failed": 2, "retry": 5}, 1200),
    swaps=(Swap(None, "gpu0", None, "long ago"), Swap(NOW, "gpu0", "small", "a reason " * 40)),
)


def drawn(moment: Moment, *, rows: int = 40, held: bool = False) -> str:
    console = Console(width=120, record=True, file=io.StringIO(), force_terminal=True)
    console.print(frame(moment, rows=rows, held=held))
    return console.export_text()


def test_everything_is_in_the_picture() -> None:
    text = drawn(MOMENT)
    for words in (
        "32 jobs/min",
        "20 tokens/s",
        "2 failed",
        "SIMULATED",
        "800/3,686",
        "●○",
        "loading large, evicting small",
        "no worker",
        "1,234",
        "61.5",
        "paused new weights",
        "2 in the inbox",
        "6.0",  # three wall seconds are six model seconds here
        "before",
        "12:00:00",
    ):
        assert words in text, text
    assert "HELD" in drawn(MOMENT, held=True)
    assert "Postgres is away" in drawn(replace(MOMENT, trouble="Postgres is away."))


@pytest.mark.parametrize("rows", [24, 30, 60])
def test_it_fits_the_terminal(rows: int) -> None:
    lines = drawn(MOMENT, rows=rows).rstrip().splitlines()
    assert len(lines) <= rows and max(map(len, lines)) <= 120
    assert "some-agent" in "\n".join(lines)


def test_rates_leave_attempts_out_that_go_on() -> None:
    said = MOMENT.as_object()
    assert said["rates"] == {
        "jobs_per_min": 32.0,
        "tokens_per_s": 20.0,
        "ended": {"succeeded": 30, "failed": 2, "retry": 5},
    }
