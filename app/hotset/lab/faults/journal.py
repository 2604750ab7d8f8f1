"""What the model servers saw, read from their traces: which job began and ended when, whoever asked for it."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path


class Journal:
    """`read` takes in what is new; the rest answers from what was read. Times are epoch seconds."""

    def __init__(self, traces: Mapping[str, Path]) -> None:
        self._traces = traces
        self._read = dict.fromkeys(traces, 0)
        self._running: dict[str, Counter[str]] = {gpu: Counter() for gpu in traces}
        self.starts: defaultdict[str, list[float]] = defaultdict(list)
        self.ends: list[float] = []
        #: How often each job was answered to the end.
        self.answers: Counter[str] = Counter()

    def read(self) -> Journal:
        for gpu, path in self._traces.items():
            with path.open("rb") as file:
                file.seek(self._read[gpu])
                while (line := file.readline()).endswith(b"\n"):
                    self._take_in(gpu, json.loads(line))
                self._read[gpu] = file.tell() - len(line)  # half a line: next time
        return self

    def running(self, gpu: str | None = None) -> set[str]:
        """Jobs that are being answered now (on that GPU)."""
        return {job for name, jobs in self._running.items() if gpu in (None, name) for job, n in jobs.items() if n > 0}

    def started_after(self, job: str, moment: float) -> float | None:
        return min((at for at in self.starts[job] if at > moment), default=None)

    def first_start_after(self, moment: float) -> float | None:
        return min((at for starts in self.starts.values() for at in starts if at > moment), default=None)

    def free_after(self, moment: float, slots: int) -> float | None:
        """The first moment, not before that one, at which fewer than so many jobs are being answered: who is asked when
        all slots are taken can begin nothing, however well it is."""
        began = sorted(at for starts in self.starts.values() for at in starts)
        ended = sorted(self.ends)
        at = moment
        while bisect_right(began, at) - bisect_right(ended, at) >= slots:
            later = bisect_right(ended, at)
            if later == len(ended):
                return None
            at = ended[later]
        return at

    @property
    def started_twice(self) -> int:
        return sum(len(starts) > 1 for starts in self.starts.values())

    def _take_in(self, gpu: str, event: Mapping[str, str]) -> None:
        if event["event"] == "start":
            self.starts[event["job"]].append(datetime.fromisoformat(event["at"]).timestamp())
            self._running[gpu][event["job"]] += 1
        elif event["event"] == "finish":
            self.ends.append(datetime.fromisoformat(event["at"]).timestamp())
            self._running[gpu][event["job"]] -= 1
            self.answers[event["job"]] += event["outcome"] == "succeeded"
