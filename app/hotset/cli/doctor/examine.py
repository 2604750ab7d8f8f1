"""Runs families of checks side by side, each within its own time limit: what hangs does not hang the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hotset.cli.doctor.finding import Family, Finding, failed
from hotset.errors import HotsetError

_STEP_S = 0.05


def examine(families: Sequence[Family], progress: Callable[[list[str]], None] = lambda _: None) -> list[Finding]:
    """All findings, in the order of the families. `progress` is told the names of those that still run."""
    looks = [_Look(family) for family in families]
    for look in looks:
        look.start()
    while running := [look for look in looks if not look.over()]:
        progress([look.family.name for look in running])
        running[0].join(_STEP_S)
    return [finding for look in looks for finding in look.result()]


class _Look(threading.Thread):
    """One family. A daemon: a check that never returns must not keep the command from ending."""

    def __init__(self, family: Family) -> None:
        super().__init__(name=f"hotset-doctor {family.name}", daemon=True)
        self.family = family
        self._findings: list[Finding] = []
        self._until = time.monotonic() + family.limit_s

    def over(self) -> bool:
        return not self.is_alive() or time.monotonic() >= self._until

    def result(self) -> list[Finding]:
        late = self.is_alive()
        found = list(self._findings)
        if late:
            found.append(
                replace(
                    failed(self.family.name, f"no answer within {self.family.limit_s:g} s", self.family.remedy),
                    ms=self.family.limit_s * 1000,
                )
            )
        return found

    def run(self) -> None:
        began = time.perf_counter()

        def note(finding: Finding) -> None:
            nonlocal began
            now = time.perf_counter()
            self._findings.append(replace(finding, ms=round((now - began) * 1000, 1)))
            began = now

        try:
            for finding in self.family.look():
                note(finding)
        except HotsetError as e:
            note(failed(self.family.name, e.message, e.remedy or self.family.remedy))
        except Exception as e:
            note(failed(self.family.name, f"{type(e).__name__}: {e}", self.family.remedy))
