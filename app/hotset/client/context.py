"""What the function of an own agent gets as `ctx`: who it is, and what it remembers. See `hotset.agent`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotset.client.client import Client
    from hotset.client.memory import Scope


@dataclass(frozen=True, slots=True)
class Context:
    """`agent`: the name for which a prompt is made; `client`: through which the job is submitted."""

    client: Client
    agent: str

    @property
    def memory(self) -> Scope:
        """The agent's own scope, as that agent: a search may take in (`also=`) what it was granted."""
        return self.client.memory(f"agent:{self.agent}", agent=self.agent)
