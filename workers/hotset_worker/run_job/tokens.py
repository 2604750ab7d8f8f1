"""Tokens for whoever waits: the first at once, then coalesced, so that a fast model costs no message per token."""

from __future__ import annotations

import time

from hotset.broker import Replies
from hotset.jobs import Attempt
from hotset.models import Chunk

_COALESCE_S = 0.04


class TokenSender:
    """Sends nothing when nobody asked."""

    def __init__(self, replies: Replies, attempt: Attempt) -> None:
        self._replies = replies
        self._attempt = attempt
        self._client = attempt.reply_to if attempt.stream else None
        self._text = ""
        self._thinking = ""
        self._seq = 0
        self._sent_at = float("-inf")

    def add(self, chunk: Chunk) -> None:
        if self._client is None or not (chunk.text or chunk.thinking):
            return
        self._text += chunk.text
        self._thinking += chunk.thinking
        if time.monotonic() - self._sent_at >= _COALESCE_S:
            self.flush()

    def flush(self) -> None:
        if self._client is None or not (self._text or self._thinking):
            return
        job = self._attempt
        self._replies.tokens(self._client, job.id, job.number, self._seq, self._text, self._thinking)
        self._text = self._thinking = ""
        self._seq += 1
        self._sent_at = time.monotonic()
