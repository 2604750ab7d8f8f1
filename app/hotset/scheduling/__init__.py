"""Pure policy: a snapshot in, decisions with their reasons out. DESIGN.md states the rules."""

from hotset.scheduling.decisions import Decision, GiveUp, Load, Run, Selector, Wait
from hotset.scheduling.options import OBJECTIVES, Objective, Options
from hotset.scheduling.policy import decide
from hotset.scheduling.snapshot import (
    NOBODY,
    Demand,
    GpuView,
    Lane,
    Others,
    QueueView,
    Resident,
    Snapshot,
    Supply,
    Switch,
    others,
)

__all__ = [
    "NOBODY",
    "OBJECTIVES",
    "Decision",
    "Demand",
    "GiveUp",
    "GpuView",
    "Lane",
    "Load",
    "Objective",
    "Options",
    "Others",
    "QueueView",
    "Resident",
    "Run",
    "Selector",
    "Snapshot",
    "Supply",
    "Switch",
    "Wait",
    "decide",
    "others",
]
