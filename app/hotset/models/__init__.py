"""Model servers as hotset sees them: the protocol, and the client of Ollama."""

from __future__ import annotations

from hotset.models.names import canonical
from hotset.models.ollama import OllamaServer
from hotset.models.protocol import Chunk, Generation, Loaded, ModelServer, Prompt, ServerInfo, Usage

__all__ = [
    "Chunk",
    "Generation",
    "Loaded",
    "ModelServer",
    "OllamaServer",
    "Prompt",
    "ServerInfo",
    "Usage",
    "canonical",
]
