"""What can be made to go wrong: by one request (its option `hotset_fault`), or by the server on its own.

A real Ollama ignores unknown options. On its own the server draws from `Switches`, which are set when it starts and
while it runs; a request's own fault comes first.

busy            503 at once, as if the queue were full
load_timeout    the load stalls for the load timeout, then 500
load_crash      the process dies while it loads: 500
load_oom        the load runs out of memory; everything else is evicted and it is tried once more, in vain: 500
load_oom_once   the same, and the second try succeeds
hang            no token ever comes; only the client's leaving ends it
stall           one token comes, then none
crash           after one token the model's process dies, for all who run on it; it is loaded again when asked for
oom             the same for want of memory: every model is unloaded as soon as it is idle
cut             after one token the connection breaks
nonsense        after one token comes a line that is not JSON, and the answer ends
repeat          the answer ends without its last line, as when a real model repeats itself
slow_client     each chunk is taken a model second late, as by a client that reads slowly; its slot is held so long
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotset.errors import UsageError, did_you_mean
from hotset.models.names import canonical
from hotset.modelserver.refusals import CutOff, Garbled, broke_off

if TYPE_CHECKING:
    from hotset.modelserver.gpu import SimulatedGpu
    from hotset.modelserver.residents import Resident

AT_ARRIVAL = frozenset({"busy"})
AT_LOAD = frozenset({"load_timeout", "load_crash", "load_oom", "load_oom_once"})
IN_A_RUN = frozenset({"hang", "stall", "crash", "oom", "cut", "nonsense", "repeat", "slow_client"})
FAULTS = AT_ARRIVAL | AT_LOAD | IN_A_RUN

_EACH = re.compile(r"1/([1-9]\d{0,8})")
_PAUSE_S = 1.0  # model seconds that a slow client takes for a chunk


class Endless(Exception):
    """Ollama gives up on a model that repeats itself, and says nothing."""


@dataclass(slots=True)
class Switch:
    """One fault that happens on its own: with a probability, or each so many times. `model` None: to all of them."""

    fault: str
    model: str | None
    share: float
    each: int | None = None
    seen: int = 0
    done: int = 0

    def draw(self, rng: random.Random) -> bool:
        self.seen += 1
        hit = self.seen % self.each == 0 if self.each else rng.random() < self.share
        self.done += hit
        return hit


def parse_switch(name: str, share: Any = 1) -> Switch:
    """`name` is a fault, or `FAULT@MODEL`; `share` a probability, or "1/50" for each 50th. Raises UsageError."""
    fault, _, model = name.partition("@")
    if fault not in FAULTS:
        hint = did_you_mean(fault, FAULTS, "")
        fix = hint if hint.startswith("Did") else f"The faults are {', '.join(sorted(FAULTS))}."
        raise UsageError(f"There is no fault {fault[:40]!r}.", remedy=fix)
    each = _EACH.fullmatch(share.strip()) if isinstance(share, str) else None
    if each:
        return Switch(fault, canonical(model) or None, 1 / int(each[1]), int(each[1]))
    try:
        probability = math.nan if isinstance(share, bool) else float(share)
    except (TypeError, ValueError, OverflowError):
        probability = math.nan
    if not 0 <= probability <= 1:
        raise UsageError(
            f"{str(share)[:40]!r} is no share for {name[:80]!r}.",
            remedy="Give a probability from 0 to 1, or 1/50 for each 50th.",
        )
    return Switch(fault, canonical(model) or None, probability)


class Switches:
    """The faults that happen on their own. The same seed and the same order of requests give the same faults."""

    def __init__(self) -> None:
        self._switches: list[Switch] = []
        self._rng = random.Random(0)

    def set(self, shares: Mapping[str, Any], *, seed: int = 0) -> None:
        """These from now on, and no others. Raises UsageError, and then changes nothing."""
        self._switches = [parse_switch(name, share) for name, share in shares.items()]
        self._rng = random.Random(seed)

    def draw(self, among: frozenset[str], model: str) -> str | None:
        """The fault that strikes now, of those that can."""
        for switch in self._switches:
            if switch.fault in among and switch.model in (None, canonical(model)) and switch.draw(self._rng):
                return switch.fault
        return None

    def shown(self) -> list[dict[str, Any]]:
        """Each switch, how often it was asked and how often it struck."""
        return [
            {
                "fault": each.fault,
                "model": each.model,
                "share": f"1/{each.each}" if each.each else each.share,
                "seen": each.seen,
                "done": each.done,
            }
            for each in self._switches
        ]


async def misbehave(fault: str, sent: int, resident: Resident, gpu: SimulatedGpu) -> None:
    """Do it if it is time: `sent` tokens are out."""
    if fault == "hang" or (fault == "stall" and sent > 0):
        await asyncio.Event().wait()
    if sent == 0:
        return
    match fault:
        case "crash":
            resident.dead = "unexpected EOF"
        case "oom":
            gpu.clear("out of memory in a run")
            raise broke_off("CUDA error: out of memory")
        case "cut":
            raise CutOff
        case "nonsense":
            raise Garbled
        case "repeat":
            raise Endless
        case "slow_client":
            await asyncio.sleep(gpu.clock.waited(_PAUSE_S))
