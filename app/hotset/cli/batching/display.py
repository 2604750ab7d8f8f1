"""How far a batch is, on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hotset.cli.batching.batch import Batch
from hotset.cli.output import note

_BAR_S = 0.2
_LINE_S = 5.0
#: Wall seconds over which the pace is taken.
_PACE_S = 60.0


@contextlib.contextmanager
def display(batch: Batch) -> Iterator[None]:
    """Shows the batch while the block lasts."""
    if not batch.to_do:
        yield
        return
    console = Console(stderr=True)
    stop = threading.Event()
    show: Callable[[str], None]
    with contextlib.ExitStack() as exits:
        if console.is_terminal:
            parts = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[more]}"),
            )
            bar = exits.enter_context(Progress(*parts, console=console))
            task = bar.add_task("Jobs", total=batch.to_do, more="")
            every_s, show = _BAR_S, lambda more: bar.update(task, completed=batch.done, more=more)
        else:
            every_s, show = _LINE_S, lambda more: note(f"{batch.done:,}/{batch.to_do:,} jobs done; {more}")
        thread = threading.Thread(target=_follow, args=(batch, stop, every_s, show))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(batch: Batch, stop: threading.Event, every_s: float, show: Callable[[str], None]) -> None:
    pace = Pace()
    ended = False
    while not ended:
        ended = stop.wait(every_s)
        show(_more(batch, pace.left(time.monotonic(), batch.done, batch.to_do)))


def _more(batch: Batch, left_s: float | None) -> str:
    parts = ["about " + _clock(left_s) + " left" if left_s is not None else "time left unknown"]
    swaps, fifo = batch.summary.swaps, batch.summary.fifo_swaps
    if swaps is not None:
        by_now = None if fifo is None else round(fifo * batch.done / batch.to_do)
        parts.append(f"{swaps} swaps" + (f", {max(0, by_now - swaps)} avoided" if by_now is not None else ""))
    return "; ".join(parts)


class Pace:
    """How long the rest takes at the pace of the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, now: float, done: int, of: int) -> float | None:
        """Seconds, or None while nothing has ended."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > _PACE_S:
            self._seen.popleft()
        since, before = self._seen[0]
        if done == of:
            return 0.0
        return None if done == before else (of - done) * (now - since) / (done - before)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
