"""An agent as data: a named role with a tier, a system prompt and its own defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

TaskType = Literal["code", "creative", "analysis", "default"]

LONGEST_SYSTEM = 8000
#: No context is larger; a run is held to its model's context anyway.
MOST_TOKENS = 1_000_000

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class Agent:
    """`tier` says which queue, hence which model; `task_type` which base parameters (see `hotset.agents.parameters`).

    `max_tokens` and `temperature` replace what task type and tier would give; None leaves it to them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]
    tier: _Text
    domain: _Text
    role: _Text
    task_type: TaskType
    system: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_SYSTEM)]
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)] | None = None
