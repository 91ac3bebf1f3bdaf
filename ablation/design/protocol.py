"""How a variant is trained: every number of it, as data. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from blocks.errors import choices, must_be

SSIM_WINDOWS = ("uniform", "gaussian")
PRECISIONS = ("float32", "bfloat16", "float16")
MEMORY_FORMATS = ("auto", "contiguous", "channels_last")
_CHOICES = {"ssim_window": SSIM_WINDOWS, "precision": PRECISIONS, "memory_format": MEMORY_FORMATS, "ssim_size": (9, 11)}
_NOT_NEGATIVE = ("ssim_weight", "l1_weight", "kl_weight", "l2_weight", "mask_weight", "clip_norm")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The training protocol; validated where it is made. The defaults are those of the presets' source (docs/paper.md)."""

    epochs: int = 10  # at most this many passes over the training split
    batch_size: int = 32
    learning_rate: float = 1e-4  # Adam, its other settings at torch's defaults
    patience: int = 5  # stop after this many epochs without a lower validation loss
    ssim_window: str = "uniform"  # "uniform": average pooling; "gaussian": sigma 1.5, pytorch-msssim
    ssim_weight: float = 1.0
    l1_weight: float = 0.5
    kl_weight: float = 1e-3
    split_seed: int = 42
    precision: str = "float32"  # of the forward pass under autocast; weights and losses stay float32
    # "auto": channels_last on a CPU, where it trains faster (see `bench`), contiguous elsewhere; the same losses to rounding
    memory_format: str = "auto"
    # the rest came later, each by default without effect on a stored study
    compile: bool = False
    l2_weight: float = 0.0  # of the mean squared error
    # of the face mask's loss; where it is not 0, the true mask pastes the input's background into the reconstruction first
    mask_weight: float = 0.0
    ssim_size: int = 11  # side of the SSIM window in pixels
    kl_mean: bool = False  # KL averaged over the latent dimensions rather than summed
    clip_norm: float = 0.0  # largest norm of each parameter's gradient, by itself; 0: none

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise must_be(name, "a whole number of at least 1", value)
        for name in ("learning_rate", *_NOT_NEGATIVE):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise must_be(name, "a number", value)
        if not 0 < self.learning_rate < 1:
            raise must_be("learning_rate", "between 0 and 1", self.learning_rate)
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < float("inf"):
                raise must_be(name, "zero or a positive number", getattr(self, name))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise must_be(name, choices(map(str, allowed)), getattr(self, name))
        if not any((self.ssim_weight, self.l1_weight, self.l2_weight)):
            raise must_be("ssim_weight, l1_weight and l2_weight", "not all 0, or nothing asks for a likeness", 0)
        if not isinstance(self.kl_mean, bool):
            raise must_be("kl_mean", "true or false", self.kl_mean)

    def uses_channels_last(self, device: str) -> bool:
        """Whether training on this type of device ("cpu", "cuda") keeps images and weights in channels-last order."""
        return device == "cpu" if self.memory_format == "auto" else self.memory_format == "channels_last"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a trial stores them."""
        return asdict(self)

    def in_words(self) -> str:
        """One line that identifies the protocol; later fields stand in it only where they differ from their defaults."""
        values = {name: value for name, value in asdict(self).items() if name not in LATER or value != LATER[name]}
        return ", ".join(f"{name}={value}" for name, value in values.items())


# what a protocol that was stored before these fields existed means by them
LATER: dict[str, Any] = {
    field.name: field.default
    for field in fields(Protocol)
    if field.name in ("l2_weight", "mask_weight", "ssim_size", "kl_mean", "clip_norm")
}
# fields that define the loss: networks trained by different ones have validation losses that can't be compared
LOSS = ("ssim_window", "ssim_size", "ssim_weight", "l1_weight", "l2_weight", "kl_weight", "kl_mean", "mask_weight")
# fields that a space may vary: not those that change the data, or how fast a network runs
FACTORS = tuple(f.name for f in fields(Protocol) if f.name not in ("split_seed", "precision", "memory_format", "compile"))
