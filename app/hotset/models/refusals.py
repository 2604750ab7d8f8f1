"""What an answer other than 200 means: pure functions from a status and a text to one of our errors."""

from __future__ import annotations

import json

from hotset.errors import GenerationFailed, ModelError, ModelNotFound, ModelTooLarge

# A bad option is a 500 in Ollama, though no retry will mend it; so is a model that no memory holds.
_BAD_OPTION = "must be of"
_TOO_LARGE = "requires more system memory"
_RETRYABLE_4XX = frozenset({408, 425, 429, 499})


def refusal(status: int, body: str, model: str) -> ModelError:
    """The error for an HTTP status and the body that came with it."""
    text = _error_text(body) or f"HTTP status {status} without a reason"
    if status == 404:
        return ModelNotFound(
            f"The model server has no model {model!r} ({text}).", remedy=f"`ollama pull {model}` fetches it."
        )
    if _TOO_LARGE in text:
        return ModelTooLarge(
            f"{model} does not fit on the model server: {text}.",
            remedy="Take a smaller quantisation or a smaller num_ctx, or give it a larger GPU.",
        )
    retryable = (status >= 500 and _BAD_OPTION not in text) or status in _RETRYABLE_4XX
    return GenerationFailed(f"The model server refused {model} ({status}): {text}.", status=status, retryable=retryable)


def error_line(text: object, model: str) -> GenerationFailed:
    """The error for an `{"error": ...}` line inside a stream that had begun well."""
    return GenerationFailed(f"The model server broke {model} off: {text}.")


def _error_text(body: str) -> str:
    try:
        parsed = json.loads(body)
    except ValueError:
        return body.strip()[:500]
    said = parsed.get("error") if isinstance(parsed, dict) else None
    return said if isinstance(said, str) else body.strip()[:500]
