"""What the policy saw and what it answered, a JSON line each: any live decision can be looked at, and replayed.

{"gpu": "gpu0", "options": {...}, "snapshot": {...}, "decisions": [{"decision": "Load", "gpu": "gpu0", ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hotset.scheduling import Decision, Options, Snapshot, decide

_SNAPSHOT = TypeAdapter(Snapshot)
_OPTIONS = TypeAdapter(Options)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line. `answer` is what was decided then, as data."""

    gpu: str
    options: Options
    snapshot: Snapshot
    answer: list[dict[str, Any]]

    def again(self) -> list[dict[str, Any]]:
        """What the policy answers now."""
        return _plain(decide(self.snapshot, self.options))


class DecisionLog:
    """Appends; each line is in the file when the call returns. Used by one thread."""

    def __init__(self, path: Path, gpu: str, options: Options) -> None:
        """OSError if the file cannot be written."""
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._head = {"gpu": gpu, "options": asdict(options)}

    def __call__(self, snapshot: Snapshot, decisions: Sequence[Decision]) -> None:
        line = {**self._head, "snapshot": asdict(snapshot), "decisions": _plain(decisions)}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()


def read_decisions(path: Path) -> Iterator[Recorded]:
    """ValueError for a line that no decision log has."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Recorded(
                gpu=row["gpu"],
                options=_OPTIONS.validate_python(row["options"]),
                snapshot=_SNAPSHOT.validate_python(row["snapshot"]),
                answer=row["decisions"],
            )


def _plain(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    plain = [{"decision": type(decision).__name__, **asdict(decision)} for decision in decisions]
    return json.loads(json.dumps(plain))  # type: ignore[no-any-return]
