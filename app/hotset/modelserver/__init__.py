"""An Ollama-compatible model server with a simulated GPU: real HTTP, real queues, words without meaning.

What it does of what Ollama does, and what it leaves out, is told in docs/model-server.md.
Needs the extra `modelserver`.
"""

from __future__ import annotations

from hotset.modelserver.http import VERSION, Simulation, create_app
from hotset.modelserver.serve import DEFAULT_PORT, serve, serving

__all__ = ["DEFAULT_PORT", "VERSION", "Simulation", "create_app", "serve", "serving"]
