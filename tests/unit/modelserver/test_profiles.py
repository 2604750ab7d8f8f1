import random
import statistics
from pathlib import Path

import pytest

from hotset.errors import UsageError
from hotset.fleet import Model
from hotset.fleet_file import classic_fleet
from hotset.modelserver.fault_file import read_faults
from hotset.modelserver.profile_file import read_profiles
from hotset.modelserver.profiles import LogNormal, OfRuns, Profile, Seen, profiles_of, quick_profile

EXAMPLE = Path(__file__).parents[3] / "examples" / "profile.yaml"
CLASSIC = profiles_of(classic_fleet())


def read(tmp_path: Path, text: str) -> dict[str, Profile]:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    return read_profiles(path, CLASSIC)


def test_the_example_is_read_whole() -> None:
    profiles = read_profiles(EXAMPLE, CLASSIC)
    tiny, qwen, deepseek, new = (profiles[n] for n in ("tinyllama", "qwen2.5-coder:7b", "deepseek-r1:8b", "llama3.2"))
    assert tiny.answers == LogNormal(180, 0.8) and tiny.first_token_s == 0.05 and tiny.prompt_tokens_per_s == 2400
    assert tiny.model == CLASSIC["tinyllama"].model, "what is not said stays as it is in the fleet"
    assert isinstance(qwen.answers, Seen) and qwen.unload_s == 0.8
    assert deepseek.answers == LogNormal(512, 0.0) and deepseek.trained_context == 131072
    assert new.model == Model("llama3.2", 2000, 3.0, 60) and new.can("tools") and not new.can("insert")


def test_what_is_not_said_follows_from_what_is(tmp_path: Path) -> None:
    (faster,) = read(tmp_path, "models: {tinyllama: {tokens_per_s: 200}}").values()
    assert faster.prompt_tokens_per_s == 5000.0, "prompts are read 25 times as fast"
    (wider,) = read(tmp_path, "models: {'tinyllama:latest': {context: 100000}}").values()
    assert wider.trained_context == wider.model.context == 100_000
    (new,) = read(tmp_path, "models: {mistral: {size_mb: 4000}}").values()
    assert new.model == Model("mistral", 4000, 8.0), "500 MB/s"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the file is empty"),
        ("models: [", 1, "not YAML"),
        ("model: {}", 1, "no setting 'model'; did you mean 'models'"),
        ("models: 3", 1, "not a mapping"),
        ("models:\n  tinyllama:\n    answr_tokens: 3", 3, "did you mean 'answer_tokens'"),
        ("models:\n  tinyllama:\n    zzz: 3", 3, "the settings are size_mb, load_s"),
        ("models:\n  tinylama: {load_s: 3}", 2, "lacks 'size_mb'; did you mean 'tinyllama'"),
        ("models:\n  xyzzy: {load_s: 3}", 2, "add `size_mb: 2500`"),
        (
            "models:\n  tinyllama:\n    load_s: fast",
            3,
            "'load_s' of model 'tinyllama' is 'fast'; write a number",
        ),
        ("models:\n  tinyllama:\n    tokens_per_s: 0", 3, "write a number above zero, such as `tokens_per_s: 38`"),
        ("models:\n  tinyllama:\n    tokens_per_s: .inf", 3, "is '.inf'"),
        ("models:\n  tinyllama:\n    tokens_per_s: true", 3, "is 'true'"),
        ("models:\n  tinyllama:\n    tokens_per_s: [1]", 3, "is not a single value"),
        ("models:\n  tinyllama:\n    answer_tokens: []", 3, "a list of 0"),
        ("models:\n  tinyllama:\n    answer_tokens: [3, -1]", 3, "is '-1'"),
        ("models:\n  tinyllama:\n    answer_tokens: {cv: 1}", 3, "lacks 'mean'"),
        ("models:\n  tinyllama:\n    answer_tokens: {maen: 1}", 3, "did you mean 'mean'"),
        ("models:\n  tinyllama:\n    capabilities: [tool]", 3, "did you mean 'tools'"),
        ("models:\n  tinyllama:\n    capabilities: tools", 3, "is no list"),
        ("models:\n  tinyllama: {load_s: 1}\n  tinyllama: {load_s: 2}", 3, "is given twice"),
    ],
)
def test_errors_name_line_and_fix(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert f"profile.yaml:{line}: " in str(caught.value) and says in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_profiles(tmp_path / "none.yaml", CLASSIC)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("llama3.2=2000MB,load=3s,rate=60", Model("llama3.2", 2000, 3.0, 60)),
        ("qwen2.5:7b=4.5GB", Model("qwen2.5:7b", 4608, 9.216)),
        ("a/b=100, load=250ms, context=8k", Model("a/b", 100, 0.25, context=8192)),
    ],
)
def test_a_model_on_one_line(text: str, model: Model) -> None:
    assert quick_profile(text).model == model


def test_an_answer_length_on_one_line() -> None:
    assert quick_profile("m=1MB,answer=200").answers == LogNormal(200)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("llama3.2", "is no model"),
        ("=3MB", "is no model"),
        ("m=", "is no model"),
        ("m=big", "Write 2000MB"),
        ("m=0MB", "above zero"),
        ("m=3MB,lod=2s", "Did you mean 'load'"),
        ("m=3MB,load=2h", "Write load=3s"),
        ("m=3MB,load=1s,load=2s", "is given twice"),
    ],
)
def test_a_line_that_is_no_model(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        quick_profile(text)


def test_lengths_have_the_mean_and_the_variation_of_their_profile() -> None:
    rng, model = random.Random(3), Model("m", 1, 1.0, tokens_per_s=40.0)
    drawn = [LogNormal(200, 0.8).draw(rng, model, 0.0) for _ in range(20_000)]
    assert statistics.mean(drawn) == pytest.approx(200, rel=0.03)
    assert statistics.stdev(drawn) / statistics.mean(drawn) == pytest.approx(0.8, rel=0.06)
    assert {LogNormal(7, 0.0).draw(rng, model, 0.0) for _ in range(9)} == {7}
    assert OfRuns(0.0).draw(rng, model, 0.5) == 1


def test_a_fault_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("seed: 7\nfaults:\n  load_crash: 1/50\n  stall@deepseek-r1:8b: 0.01\n")
    assert read_faults(path) == ({"load_crash": "1/50", "stall@deepseek-r1:8b": 0.01}, 7)
    path.write_text("{}")
    assert read_faults(path) == ({}, 0)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("faults:\n  stal: 1", 2, "did you mean 'stall'"),
        ("faults:\n  stall: often", 2, "give a probability"),
        ("faults:\n  stall: [1]", 2, "give a probability"),
        ("fault: {}", 1, "did you mean 'faults'"),
        ("seed: x", 1, "such as `seed: 7`"),
    ],
)
def test_errors_of_a_fault_file(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_faults(path)
    assert f"faults.yaml:{line}: " in str(caught.value) and says in str(caught.value)
