"""An answer that is an error: Ollama's status and its words, to the letter."""

from __future__ import annotations


class Refusal(Exception):
    """Answered as `{"error": message}` with this status, or as an error line if the stream has begun."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class CutOff(Exception):
    """The connection breaks in the middle of an answer: a fault that was asked for, or a client that does not read."""


class Garbled(Exception):
    """The answer goes on with what is not JSON, and ends (a fault that was asked for)."""


def busy() -> Refusal:
    return Refusal(503, "server busy, please try again.  maximum pending requests exceeded")


def not_found(model: str) -> Refusal:
    return Refusal(404, f"model '{model}' not found")


def not_found_to_embed(model: str) -> Refusal:
    """The same from `/api/embed`, which has words of its own for it."""
    return Refusal(404, f'model "{model}" not found, try pulling it first')


def terminated(reason: str) -> Refusal:
    """The process of a model died while it was loading."""
    return Refusal(500, f"llama-server process has terminated: {reason}")


def broke_off(reason: str) -> Refusal:
    """The process of a model died in a run."""
    return Refusal(500, f"an error was encountered while running the model: {reason}")


def load_timed_out() -> Refusal:
    return Refusal(500, "timed out waiting for llama-server to start - progress 0.00 - ")
