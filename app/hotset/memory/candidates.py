"""What ranking works on: a question as it is understood, and a memory as it is compared with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import numpy as np

    Vector = np.ndarray[tuple[int], np.dtype[np.float32]]

#: A clause about somebody else than who is asked about: "... the project that Tom tests".
_LEADS_ON = re.compile(r"^(?:\S+\s+){3,}?(?:that|which|who|whom|whose|where)\b", re.IGNORECASE)
_ASKS_ASSISTANT = re.compile(
    r"\b(?:did|have|had|were|was|do) you\b|\byou(?:'ve|'d)? (?:\w+ )?(?:said|told|suggest|recommend|advis|propos|"
    r"mention|promis|offer|explain|giv|gave)\w*|\byour (?:advice|suggestion|recommendation|proposal|answer|tip|"
    r"idea)s?\b"
    r"|\bthe assistant\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """`names`: of those in the question all that are names in these scopes, or look like names. `stems`: its other
    words."""

    text: str
    names: frozenset[str]
    stems: frozenset[str]
    when: datetime
    kinds: frozenset[str] = frozenset()

    @property
    def asks_assistant(self) -> bool:
        return bool(_ASKS_ASSISTANT.search(self.text))

    @property
    def leads_on(self) -> bool:
        """Whether a clause leads over somebody else."""
        return bool(_LEADS_ON.search(self.text))


# A search makes some fifty: frozen each would cost seven microseconds more. And one is equal to itself alone: they are
# keys of dictionaries, and the hash of an id costs a microsecond.
@dataclass(slots=True, eq=False)
class Candidate:
    """`whole`, `about`: cosines with the question, of the meaning, and of the property that is stated or asked for.
    Nobody changes one."""

    id: UUID
    names: frozenset[str]
    stems: frozenset[str]
    whole: float
    about: float
    said_by: str
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: UUID | None
    kinds: frozenset[str] = frozenset()
    #: Of the property that is stated.
    vector: Vector | None = None
    #: Whether a model made it of other memories.
    summary: bool = False
