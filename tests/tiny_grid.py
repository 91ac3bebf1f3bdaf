"""A grid of three tiny networks, as commands run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ablation.design.spec import preset

# two resolutions instead of four: half the layers to count, time, train and export
SIZES: dict[str, Any] = {"image_size": 16, "encoder_widths": (8, 16), "decoder_stem": 16, "decoder_widths": (16, 8)}
SHORT = preset("small").replace(**SIZES)
BASE = '[base]\npreset = "small"\n' + "".join(f"{name} = {json.dumps(value)}\n" for name, value in SIZES.items())
SPACE = f"""{BASE}
[factors]
connectivity = ["plain", "dense"]
growth_rate = [4, 8]
"""


def begin(folder: Path) -> Path:
    """The same folder with a tiny space, and one that no study can have."""
    (folder / "space.toml").write_text(SPACE)
    (folder / "sizes.toml").write_text('[base]\npreset = "small"\n[factors]\nimage_size = [48, 64]\n')
    return folder


def grid(*more: str, epochs: int = 1) -> list[str]:
    tiny = ["grid", "--space", "space.toml", "--images", "40", "--epochs", str(epochs), "--device", "cpu"]
    return [*tiny, "--latency-budget", "1", "--latency-batches", "1", "2", "--out", "results/tiny", *more]


def last_line(text: str) -> str:
    """The last of all lines, which is an error's only one."""
    return text.strip().splitlines()[-1]
