"""A task's message as Celery shows it to others: events (hence Flower), logs and `inspect`, without what was said.

hotset's own messages hold no prompt. Those of plain producers do, and Celery would show their arguments to everybody.
"""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

_SHOWN = ("agent", "priority", "tenant")
_LONGEST = 100


class QuietRequest(Request):  # type: ignore[misc]  # celery is untyped
    """Shows the agent, never prompt, metadata or an answer that was passed on."""

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        if self._args or self._kwargs:
            given = self._kwargs if isinstance(self._kwargs, dict) else {}
            self._argsrepr = "(...)" if self._args else "()"
            self._kwargsrepr = repr({name: str(given[name])[:_LONGEST] for name in _SHOWN if name in given})
            self._request_dict |= {"argsrepr": self._argsrepr, "kwargsrepr": self._kwargsrepr}
        # Celery would hold the message, hence a slot of the GPU, until its time comes; Postgres can wait better.
        self._request_dict["hotset_not_before"] = self.eta
        self._eta = self._request_dict["eta"] = None

    def info(self, safe: bool = False) -> Any:
        return super().info(safe=True)


class Answer:
    """A model's answer as the result of a task: the next task of a Celery chain gets the text, others see no word."""

    def __init__(self, text: str, tokens: int) -> None:
        self._text = text
        self._tokens = tokens

    def __json__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{self._tokens} tokens"
