"""Text to vectors on the CPU: all-MiniLM-L6-v2, 384 numbers a text. Nothing is fetched, nothing runs on a GPU.

Needs the extra `memory` and the model's weights; loaded at the first text. Import costs nothing.
"""

from hotset.embedder.cached import CachedEmbedder
from hotset.embedder.embedder import DIMENSIONS, ENCODER, Embedder, shared_embedder

__all__ = ["DIMENSIONS", "ENCODER", "CachedEmbedder", "Embedder", "shared_embedder"]
