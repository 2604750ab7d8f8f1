"""What can be made to go wrong: option `hotset_fault` of a request (a real Ollama ignores unknown options).

load_timeout   the load stalls for the load timeout, then 500
load_crash     the load fails with 500
hang           no token ever comes; only the client's leaving ends it
stall          one token comes, then none
crash          after one token the model's process dies, for all who run on it; it is loaded again when asked for
cut            after one token the connection breaks
repeat         the answer ends without its last line, as when a real model repeats itself
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hotset.modelserver.refusals import CutOff

if TYPE_CHECKING:
    from hotset.modelserver.residents import Resident

AT_LOAD = frozenset({"load_timeout", "load_crash"})
IN_A_RUN = frozenset({"hang", "stall", "crash", "cut", "repeat"})


class Endless(Exception):
    """Ollama gives up on a model that repeats itself, and says nothing."""


async def misbehave(fault: str, sent: int, resident: Resident) -> None:
    """Do it if it is time: `sent` tokens are out."""
    if fault == "hang" or (fault == "stall" and sent > 0):
        await asyncio.Event().wait()
    if sent == 0:
        return
    match fault:
        case "crash":
            resident.dead = True
        case "cut":
            raise CutOff
        case "repeat":
            raise Endless
