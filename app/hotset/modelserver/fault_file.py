"""Fault files: which faults a server has on its own. Every error names file, line and fix.

seed: 7
faults:
  load_crash: 1/50            # each 50th load
  stall@deepseek-r1:8b: 0.01  # one in a hundred runs of this model
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotset.errors import UsageError
from hotset.modelserver.faults import parse_switch
from hotset.nodes import NodeFile


def read_faults(path: Path) -> tuple[dict[str, Any], int]:
    """The shares by fault, and the seed. Raises UsageError: `file:line: what; fix`."""
    file = NodeFile(path, "a fault file")
    top = file.settings(file.root(), "a fault file", ("seed", "faults"))
    seed = file.number(top["seed"], "'seed'", "seed: 7", zero=True) if "seed" in top else 0
    shares: dict[str, Any] = {}
    for name, (key, value) in (file.mapping(top["faults"], "'faults'") if "faults" in top else {}).items():
        share = file.scalar(value)
        try:
            parse_switch(name, share)
        except UsageError as error:
            raise file.error(key, error.message.rstrip("."), error.remedy) from None
        shares[name] = share
    return shares, int(seed)
