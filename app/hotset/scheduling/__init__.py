"""Pure policy: a snapshot in, decisions with their reasons out. DESIGN.md states the rules."""

from hotset.scheduling.decisions import Decision, Load, Run, Selector, Wait
from hotset.scheduling.options import OBJECTIVES, Objective, Options
from hotset.scheduling.policy import decide
from hotset.scheduling.snapshot import GpuView, Lane, QueueView, Resident, Snapshot, Switch

__all__ = [
    "OBJECTIVES",
    "Decision",
    "GpuView",
    "Lane",
    "Load",
    "Objective",
    "Options",
    "QueueView",
    "Resident",
    "Run",
    "Selector",
    "Snapshot",
    "Switch",
    "Wait",
    "decide",
]
