"""The catalogue of 131 agents, users' own, and the generation parameters of their runs."""

from hotset.agents.agent import Agent, TaskType
from hotset.agents.demo import demo_prompts
from hotset.agents.parameters import check_overrides, generation_options, load_options
from hotset.agents.registry import Registry, load_registry

__all__ = [
    "Agent",
    "Registry",
    "TaskType",
    "check_overrides",
    "demo_prompts",
    "generation_options",
    "load_options",
    "load_registry",
]
