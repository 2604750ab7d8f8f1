"""What agents remember: exact about what is true now, whatever tier it lies in, and whoever asks.

`room` is the door; `facts`, `words`, `ranking`, `segments` and `chunks` are pure. Nothing heavy is imported here.
"""

from hotset.memory.records import Memory, New, Wanted
from hotset.memory.scopes import parse_scope, parse_scopes
from hotset.memory.session import As
from hotset.memory.sharing import Handoff

__all__ = ["As", "Handoff", "Memory", "New", "Wanted", "parse_scope", "parse_scopes"]
