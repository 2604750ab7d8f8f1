"""The bench: each fault against hotset, then against stock Celery where it means anything to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from hotset.errors import UsageError
from hotset.lab.faults import FAULTS, Length, run_fault
from hotset.lab.faults.hotset_side import Hotset
from hotset.lab.faults.side import Side
from hotset.lab.faults.stock_side import Stock
from hotset.lab.figures import Run
from hotset.lab.stage import Stage


def measure(
    stage: Stage,
    runs: int,
    jobs: int,
    progress: Callable[[str], None],
    *,
    fault: Sequence[int] = (),
    quick: bool = False,
) -> Iterator[Run]:
    """An arm for each fault and side: `1 hotset`, `1 celery`. `jobs`: a hundredth each of the fault's own load."""
    length: Length = "quick" if quick else "full"
    asked = list(dict.fromkeys(fault)) or list(FAULTS)
    for number in asked:
        if number not in FAULTS:
            known = ", ".join(map(str, FAULTS))
            raise UsageError(f"The bench has no fault {number}.", remedy=f"It has {known}; see docs/reliability.md.")
    for _ in range(runs):
        found: dict[str, dict[str, float]] = {}
        for number in asked:
            progress(f"fault {number}: {FAULTS[number].title}")
            sides: list[type[Side]] = [Hotset, *([Stock] if FAULTS[number].stock else [])]
            for side in sides:
                figures = run_fault(
                    number, side, stage, length=length, share=jobs / 100, say=lambda said: progress(f"  {said}")
                )
                # Said at once: the other side may take an hour more.
                progress(f"  {side.name}: {json.dumps(figures)}")
                found[f"{number} {side.name}"] = figures
        yield found
