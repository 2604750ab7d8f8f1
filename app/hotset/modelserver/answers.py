"""Answers that are written as they come into being, and that end with their client: a stream, or one object."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hotset.modelserver.refusals import CutOff, Refusal

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"

Lines = AsyncGenerator[dict[str, Any], None]


def encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Json(Response):
    def __init__(self, value: Mapping[str, Any], status: int = 200) -> None:
        super().__init__(encode(value), status, media_type=None, headers={"content-type": JSON})


class Answer(Response):
    """Runs `lines` while its client listens. With `join` they become one object, else one line each.

    A client that leaves stops `lines` wherever they are, which frees what they hold. A Refusal before the first line
    is an answer with its status, later an error line inside the stream.
    """

    def __init__(self, lines: Lines, *, join: Callable[[list[dict[str, Any]]], dict[str, Any]] | None) -> None:
        self._lines = lines
        self._join = join
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not writing.done():
                writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing

    async def _write(self, send: Send) -> None:
        async with contextlib.aclosing(self._lines) as lines:
            if self._join is not None:
                await self._write_joined(lines, self._join, send)
            else:
                await self._write_lines(lines, send)

    async def _write_joined(
        self, lines: Lines, join: Callable[[list[dict[str, Any]]], dict[str, Any]], send: Send
    ) -> None:
        try:
            answer, status = join([line async for line in lines]), 200
        except Refusal as refusal:
            answer, status = {"error": refusal.message}, refusal.status
        except CutOff:
            return
        body = encode(answer)
        await send(_start(status, JSON, length=len(body)))
        await send({"type": "http.response.body", "body": body})

    async def _write_lines(self, lines: Lines, send: Send) -> None:
        begun = False
        try:
            async for line in lines:
                if not begun:
                    begun = True
                    await send(_start(200, NDJSON))
                await send({"type": "http.response.body", "body": encode(line) + b"\n", "more_body": True})
        except Refusal as refusal:
            error = encode({"error": refusal.message})
            if not begun:
                await send(_start(refusal.status, JSON, length=len(error)))
            await send({"type": "http.response.body", "body": error if not begun else error + b"\n"})
            return
        except CutOff:
            return  # a body without its end: the server drops the connection
        await send({"type": "http.response.body", "body": b""})


def _start(status: int, content_type: str, *, length: int | None = None) -> Message:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
