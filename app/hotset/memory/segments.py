"""Segments: many texts compressed together, with a checksum. Pure.

The format: zstd of JSON lines, `[id, text]` each, in the order of the ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from hotset.errors import EmbedderMissing, SegmentDamaged

_LEVEL = 9
#: What one segment may become: a stored bomb is refused, not unpacked.
MOST_BYTES = 64 * 1024 * 1024


def pack(texts: Mapping[UUID, str]) -> tuple[bytes, bytes, int]:
    """(body, checksum, bytes of text)."""
    lines = "\n".join(json.dumps([str(i), texts[i]], ensure_ascii=False) for i in sorted(texts)).encode()
    body = _zstd().ZstdCompressor(level=_LEVEL, write_content_size=True).compress(lines)
    return body, hashlib.sha256(body).digest(), len(lines)


def unpack(body: bytes, checksum: bytes) -> dict[UUID, str]:
    """Raises SegmentDamaged."""
    if hashlib.sha256(body).digest() != checksum:
        raise SegmentDamaged("A segment's checksum is not what it was.", remedy="Restore the database from a backup.")
    try:
        lines = _zstd().ZstdDecompressor().decompress(body, max_output_size=MOST_BYTES)
        found = [json.loads(line) for line in lines.decode().split("\n")]
        return {UUID(i): text for i, text in found}
    except (ValueError, _zstd().ZstdError) as e:
        raise SegmentDamaged(f"A segment cannot be read: {e}.", remedy="Restore the database from a backup.") from e


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as e:
        raise EmbedderMissing("The package zstandard is not installed.") from e
    return zstandard
