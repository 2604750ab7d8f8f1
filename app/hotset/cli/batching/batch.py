"""Submits the lines that have no result yet, at most a window at a time, and writes results as jobs end."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from uuid import UUID

from hotset.agents.intake import Intake
from hotset.cli.batching.lines import BadLine, Line, parse, read_lines, submission
from hotset.cli.batching.results import Results
from hotset.cli.batching.swaps import SwapCounter, fifo_swaps
from hotset.cli.output import note
from hotset.cli.status import read_gpus
from hotset.client import Client
from hotset.errors import InvalidBatch, InvalidJob, Unavailable, UsageError
from hotset.jobs import JobView, State

_T = TypeVar("_T")

#: Lines of one submission.
_CHUNK = 1000
#: Wall seconds between looks at what has ended: one query for all that is open, at least so much apart.
_LOOK_S = 0.2
#: And so many times what the query took: a large window must not keep Postgres busy.
_EASE = 10
_SHOWN = 5


@dataclass(slots=True)
class Summary:
    """What a batch came to. `lines` is all of them; `before`: those whose results were there before. `swaps`: of the
    whole fleet meanwhile; `fifo_swaps`: what first come, first served would have needed for what was submitted."""

    lines: int = 0
    succeeded: int = 0
    failed: int = 0
    bad: int = 0
    before: int = 0
    wall_s: float = 0.0
    swaps: int | None = None
    fifo_swaps: int | None = None
    simulated: bool = False

    def as_object(self) -> dict[str, Any]:
        saved = None if self.swaps is None or self.fifo_swaps is None else self.fifo_swaps - self.swaps
        return {**asdict(self), "swaps_avoided": saved}


class Batch:
    """Used with `with`: entering reads and checks the whole file, before anything is submitted; then `go`.

    Raises InvalidJob when lines are bad, unless they are to be skipped; UsageError for an output of another kind.
    """

    def __init__(
        self, client: Client, file: Path, output: Path | None, *, window: int, skip_bad: bool, run: str
    ) -> None:
        self._client, self._file, self._window, self._skip_bad, self._run = client, file, window, skip_bad, run
        self._results = Results(output)
        self._exits = ExitStack()
        self._todo: deque[Line] = deque()
        self._bad: list[BadLine] = []
        self._open: dict[UUID, Line] = {}
        self._source: BinaryIO
        self._swaps = SwapCounter(self._gpus)
        self.summary = Summary()
        self.to_do = self.done = 0

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._source = exits.enter_context(self._opened())
            exits.enter_context(self._results)
            self._read()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def go(self) -> Summary:
        """Until every line has its result. What is away (Postgres, say) is waited for, once the batch is under way."""
        began = time.monotonic()
        self._write_bad()
        self.summary.fifo_swaps = fifo_swaps(self._client.fleet, [line.queue for line in self._todo])
        self._swaps.look()
        if self._todo:
            self._submit()  # what is wrong at once is said at once
            if not self._gpus():
                note("No GPU worker is running: the jobs wait until one is (`hotset worker`).")
        while self._open or self._todo:
            if self._room():
                _patiently(self._submit)
            looked = time.monotonic()
            self._write(_patiently(lambda: self._client.ended(self._open)))
            took = time.monotonic() - looked
            self.summary.swaps = self._swaps.look()
            if self._open:
                time.sleep(max(_LOOK_S, _EASE * took))
        self.summary.wall_s = time.monotonic() - began
        return self.summary

    # ---- before ----------------------------------------------------------------------------------------------

    def _opened(self) -> BinaryIO:
        if str(self._file) != "-":
            return self._file.open("rb")
        # It is read twice: once to check, once to submit.
        spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        source = getattr(sys.stdin, "buffer", None)
        if source is None:
            spool.write(sys.stdin.read().encode())
        else:
            shutil.copyfileobj(source, spool)
        spool.seek(0)
        return spool

    def _read(self) -> None:
        client = self._client
        limit = client.settings.max_prompt_chars
        intake = Intake(client.registry, client.fleet, tenant=client.tenant, max_prompt_chars=limit)
        for line in read_lines(self._source, intake.new_job, self._run):
            self.summary.lines += 1
            known = self._results.states.get(line.key)
            if isinstance(line, BadLine):
                self.summary.bad += 1
                self.summary.before += known is not None
                self._bad += [line] if known is None else []
            elif known is None:
                self._todo.append(line)
            else:
                self.summary.before += 1
                self._count(known)
        if self._bad and not self._skip_bad:
            raise InvalidJob(
                f"{self._name} has {len(self._bad):,} bad lines; nothing was submitted.\n{self._listed()}",
                remedy="\nMend them, or go on without them: --skip-bad.",
            )
        self.to_do = len(self._todo)

    @property
    def _name(self) -> str:
        return "Standard input" if str(self._file) == "-" else str(self._file)

    def _listed(self) -> str:
        shown = [f"  line {bad.number}: {bad.error}" for bad in self._bad[:_SHOWN]]
        return "\n".join([*shown, *(["  ..."] if len(self._bad) > _SHOWN else [])])

    # ---- under way -------------------------------------------------------------------------------------------

    def _room(self) -> bool:
        """Whether a submission is worth its while: not one line at a time while the window is nearly full."""
        free = min(self._window - len(self._open), len(self._todo))
        return free > 0 and free >= min(self._window // 10 + 1, len(self._todo), _CHUNK)

    def _submit(self) -> None:
        lines = [self._todo[i] for i in range(min(_CHUNK, self._window - len(self._open), len(self._todo)))]
        rows = [self._row(line) for line in lines]
        try:
            jobs = self._client.submit_many(rows, wait=True)
        except InvalidBatch:
            self._submit_singly(lines, rows)
            return
        for line, job in zip(lines, jobs, strict=True):
            self._open[UUID(job.id)] = line
            self._todo.popleft()

    def _submit_singly(self, lines: Sequence[Line], rows: Sequence[dict[str, Any]]) -> None:
        """A key of these lines belongs to a job that asked for something else: which one is found out."""
        for line, row in zip(lines, rows, strict=True):
            try:
                job = self._client.submit_many([row], wait=True)[0]
            except InvalidBatch as e:
                cause = str(e.__cause__ or e)
                if not self._skip_bad:
                    raise InvalidJob(
                        f"{self._name}, line {line.number}: {cause} What was submitted before goes on."
                    ) from None
                self._bad.append(BadLine(line.number, line.key, line.label, cause))
                self.summary.bad += 1
                self.done += 1
                self._write_bad()
            else:
                self._open[UUID(job.id)] = line
            self._todo.popleft()

    def _row(self, line: Line) -> dict[str, Any]:
        self._source.seek(line.offset)
        try:
            row = parse(self._source.readline())
            return {**submission(row), "idempotency_key": line.key}
        except InvalidJob as e:
            raise UsageError(f"{self._name} changed while it was read: {e}", remedy="Start again.") from None

    def _write(self, ended: Sequence[JobView]) -> None:
        rows = [_result(self._open.pop(view.id), view) for view in ended]
        self._results.write(rows)
        for view in ended:
            self.done += 1
            self._count(view.state)
            self.summary.simulated |= view.result is not None and view.result.simulated

    def _write_bad(self) -> None:
        self._results.write(
            [
                {"line": b.number, "id": b.label, "key": b.key, "job": None, "state": "bad", "error": b.error}
                for b in self._bad
            ]
        )
        self._bad.clear()

    def _count(self, state: str) -> None:
        if state == State.SUCCEEDED:
            self.summary.succeeded += 1
        else:
            self.summary.failed += 1

    def _gpus(self) -> dict[str, Any]:
        try:
            return read_gpus(self._client.settings)
        except Unavailable:
            return {}


def _result(line: Line, view: JobView) -> dict[str, Any]:
    result = view.result
    row: dict[str, Any] = {
        "line": line.number,
        "id": line.label,
        "key": line.key,
        "job": str(view.id),
        "agent": view.agent,
        "state": str(view.state),
        "text": result and result.text,
        "model": result and result.model,
        "usage": result and dict(result.usage),
        "simulated": result and result.simulated,
        "wait_s": view.wait_s,
        "run_s": view.run_s,
        "error_kind": view.error_kind,
        "error": view.error,
    }
    if result is not None and result.thinking:
        row["thinking"] = result.thinking
    return row


def _patiently(ask: Callable[[], _T]) -> _T:
    """The answer, however long a server is away; Ctrl-C ends it."""
    away = False
    while True:
        try:
            answer = ask()
        except Unavailable as e:
            if not away:
                note(f"\n{e} Waiting for it; Ctrl-C ends this, the jobs go on.")
            away = True
            time.sleep(1.0)
        else:
            if away:
                note("It answers again.")
            return answer
