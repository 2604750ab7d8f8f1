import pytest

import hotset.models
from hotset.errors import GenerationFailed, ModelNotFound, ModelTooLarge
from hotset.models import canonical
from hotset.models.refusals import refusal


def test_the_public_names() -> None:
    assert sorted(hotset.models.__all__) == [
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


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("tinyllama", "tinyllama"),
        ("tinyllama:latest", "tinyllama"),
        ("registry.ollama.ai/library/tinyllama:latest", "tinyllama"),
        ("qwen2.5-coder:7b", "qwen2.5-coder:7b"),
        ("someone/model:latest", "someone/model"),
        ("hf.co/someone/model:Q4_K_M", "hf.co/someone/model:Q4_K_M"),
    ],
)
def test_canonical_names(name: str, short: str) -> None:
    assert canonical(name) == short


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (404, '{"error": "model \'m\' not found"}', ModelNotFound, False),
        (500, '{"error": "model requires more system memory (5.0 GiB)"}', ModelTooLarge, False),
        (500, '{"error": "option \\"num_ctx\\" must be of type integer"}', GenerationFailed, False),
        (503, '{"error": "server busy, please try again."}', GenerationFailed, True),
        (500, "not json", GenerationFailed, True),
        (500, "", GenerationFailed, True),
        (500, "[1]", GenerationFailed, True),
        (400, '{"error": "x"}', GenerationFailed, False),
    ],
)
def test_refusals(status: int, body: str, kind: type[Exception], retryable: bool) -> None:
    error = refusal(status, body, "m")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "m" in str(error)
