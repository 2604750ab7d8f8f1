"""Fleet files: the classic one, and what each mistake says (file, line, fix)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotset.errors import InvalidFleet
from hotset.fleet import Gpu, Model, Queue
from hotset.fleet_file import classic_fleet, parse_fleet, read_fleet

TEXT = """\
gpus:
  - {name: gpu0, vram_mb: 3686, slots: 2, speed: 1.5, address: "http://127.0.0.1:11434"}
  - {name: gpu1, vram_mb: 8000}
models:
  tinyllama: {size_mb: 800, load_s: 2.0}
  qwen2.5-coder:7b:
    size_mb: 2500
    load_s: 5.0
    tokens_per_s: 38
queues:
  light: {model: tinyllama, tier: light, deadline_s: 30, run_s: 2.0}
  qwen:  {model: "qwen2.5-coder:7b", tier: balanced, deadline_s: 120, run_s: 8.0}
max_wait_s: 600
"""


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.fleet.yaml"
    path.write_text(TEXT)
    fleet = read_fleet(path)
    assert fleet.gpus == (Gpu("gpu0", 3686, 2, 1.5, "http://127.0.0.1:11434"), Gpu("gpu1", 8000))
    assert fleet.models["qwen2.5-coder:7b"] == Model("qwen2.5-coder:7b", 2500, 5, 38)
    assert fleet.queues["light"] == Queue("light", "tinyllama", "light", 30, 2)
    assert fleet.max_wait_s == 600


def test_the_classic_fleet() -> None:
    fleet = classic_fleet()
    assert [m.tokens_per_s for m in fleet.models.values()] == [100, 38, 32]
    assert [q.tier for q in fleet.queues.values()] == ["light", "balanced", "complex"]
    assert fleet.max_wait_s == 900
    sizes = [m.size_mb for m in fleet.models.values()]
    assert sizes[0] + sizes[1] <= fleet.gpus[0].vram_mb < sizes[0] + sizes[2]


def test_json_is_yaml_too() -> None:
    text = '{"gpus": [{"name": "g", "vram_mb": 9}], "models": {"m": {"size_mb": 1, "load_s": 1}},\n "queues": {"q": '
    text += '{"model": "m", "tier": "t", "deadline_s": 1, "run_s": 1}}}'
    assert parse_fleet(text).max_wait_s == 900


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("slots: 2", "slotz: 2", 2, "did you mean 'slots'?"),
        ("slots: 2", "colour: red", 2, "the keys are name, vram_mb, slots, speed, address"),
        ("slots: 2", "slots: 2.5", 2, "a whole number above zero"),
        ("slots: 2", "slots: 0", 2, "'slots' of a GPU is '0'"),
        ("slots: 2", "slots: yes", 2, "'slots' of a GPU is 'yes'"),
        ("slots: 2", "slots: 2, slots: 3", 2, "'slots' is given twice"),
        ("name: gpu1", "name: gpu0", 3, "two GPUs are named 'gpu0'"),
        ("name: gpu1, ", "", 3, "a GPU lacks 'name'; add `name: gpu0`"),
        ("vram_mb: 8000", "vram_mb: -1", 3, "'vram_mb' of a GPU is '-1'"),
        ("vram_mb: 8000", "vram_mb: .nan", 3, "'vram_mb' of a GPU is '.nan'"),
        ("vram_mb: 8000", "vram_mb: lots", 3, "'vram_mb' of a GPU is 'lots'"),
        ("vram_mb: 8000", "vram_mb: [1]", 3, "not a single value"),
        ("  - {name: gpu1, vram_mb: 8000}", "  - gpu1", 3, "a GPU is not a mapping"),
        ("    size_mb: 2500\n", "", 7, "model 'qwen2.5-coder:7b' lacks 'size_mb'"),
        ("size_mb: 2500", "size_mb: 25000", 7, "the largest GPU, gpu1, has 8000"),
        ("load_s: 5.0", "load_s: .inf", 8, "'load_s' of model 'qwen2.5-coder:7b' is '.inf'"),
        ("load_s: 5.0", "load_s:", 8, "'load_s' of model 'qwen2.5-coder:7b' is ''"),
        ("model: tinyllama", "model: tinyllamma", 11, "did you mean 'tinyllama'?"),
        ("model: tinyllama", "model: zzz", 11, "the models are tinyllama, qwen2.5-coder:7b"),
        ("tier: balanced", "tier: light", 12, "both serve the tier 'light'"),
        ("max_wait_s: 600", "max_wait_s: soon", 13, "`max_wait_s: 900`"),
        ("max_wait_s: 600", "max_wait: 600", 13, "did you mean 'max_wait_s'?"),
        ("max_wait_s: 600", "max_wait_s: [", 14, "not YAML"),
        ("queues:\n", "queue:\n", 10, "did you mean 'queues'?"),
    ],
)
def test_mistakes_name_line_and_fix(old: str, new: str, line: int, says: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidFleet) as error:
        parse_fleet(TEXT.replace(old, new, 1), "f.yaml")
    assert str(error.value).startswith(f"f.yaml:{line}: ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "[]",
        "3",
        "\x00",
        "a: &a [*a]",
        "{",
        "gpus: 3\nmodels: 3\nqueues: 3",
        "- " * 5000,
        "? {a: b}\n: c",
        "--- 1\n--- 2",
        "gpus: !!python/object/apply:os.system [ls]\nmodels: {}\nqueues: {}",
    ],
)
def test_what_is_no_fleet_at_all(text: str) -> None:
    with pytest.raises(InvalidFleet, match=r"^f\.yaml:\d+: "):
        parse_fleet(text, "f.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidFleet, match="no fleet file"):
        read_fleet(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidFleet, match="cannot be read"):
        read_fleet(tmp_path)
    (tmp_path / "bin").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidFleet, match="UTF-8"):
        read_fleet(tmp_path / "bin")
