"""The options of `export`. No torch here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from studies.options import COUNT, COUNTS, SECONDS, Rule, Storage, WithPlugins, option

SEED = Rule("a whole number from 0 to 2**63 - 1", lambda value: 0 <= value < 2**63)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(WithPlugins, Storage):
    """Options of `export`."""

    what: str = option(
        MISSING, "FOLDER:NETWORK of a study, by its number in the table, its label or key (of a search: a proposal, winner or "
        "reference); or a preset, a spec file or a MODULE:CALLABLE, untrained", positional=True,
    )  # fmt: skip
    to: Path = option(MISSING, "folder to write; an export that is there is replaced", metavar="DIR")
    seed: int | None = option(None, "of the trial; by default the one with the lowest validation loss", rule=SEED)
    input: tuple[str, ...] = option(
        (), "of a network that a callable makes: 3x224x224, or 128:30522 for whole numbers; once for each input", metavar="SHAPE"
    )
    image_size: int | None = option(None, "pixels, of a preset", rule=COUNT)
    sample: bool = option(False, "the noise is an input of the graphs; otherwise z is the mean")
    plain: bool = option(False, "the graphs as they are: nothing folded or reordered")
    int8: bool = option(False, "8-bit integers in OpenVINO too, calibrated on training images; its loss is stated")
    data_root: str | None = option(None, "for --int8: where CelebA or the folder of images is", metavar="DIR")
    cache_dir: str | None = option(None, "decoded images; by default $ABLATION_CACHE or ~/.cache/ablation", metavar="DIR")
    latency_batches: tuple[int, ...] = option((1, 8), "batch sizes that are timed", rule=COUNTS, metavar="N", consume_multiple=1)
    threads: int = option(1, "of the CPU while timing; one is steadier than many", rule=COUNT)
    budget: float = option(20.0, "seconds of timing for each batch size", rule=SECONDS, metavar="S")
