"""Named specs, as fields that differ from the defaults of `ModelSpec`. Data only; `ablation.design.spec.preset` makes them."""

from __future__ import annotations

from typing import Any

_MODIFIED = {
    "connectivity": "dense",
    "conv": "pointwise_first",
    "down": "avg",
    "head": "pooled",
    "transposed": False,
}
_SMALL = {"image_size": 48, "latent_dim": 32, "growth_rate": 8, "head_channels": 8, "decoder_widths": (64, 32, 16, 8)}
_TOLEDO = {
    "architecture": "toledo",
    "latent_dim": 512,
    "encoder_widths": (32, 64, 128, 256, 256, 256, 512),
    "decoder_widths": (256, 256, 256, 128, 64, 32, 32),
}
_SMALL_TOLEDO = {
    "architecture": "toledo",
    "image_size": 48,
    "latent_dim": 64,
    "encoder_widths": (8, 16, 32, 64, 128),
    "decoder_widths": (64, 64, 32, 16, 8),
}

# the two models of the paper as its code builds them, Toledo and Antonelo's two, and all of them at a quarter of the width
PRESETS: dict[str, dict[str, Any]] = {
    "original": {},
    "modified": {**_MODIFIED, "encoder_stem": 32, "encoder_widths": (64, 128, 256, 512), "decoder_stem": 512},
    "small": {**_SMALL, "encoder_widths": (8, 16, 32, 64), "decoder_stem": 64},
    "small_modified": {**_SMALL, **_MODIFIED, "encoder_stem": 8, "encoder_widths": (16, 32, 64, 128), "decoder_stem": 128},
    "toledo": _TOLEDO,
    "toledo_mask": {**_TOLEDO, "mask_width": 32},
    "small_toledo": _SMALL_TOLEDO,
    "small_toledo_mask": {**_SMALL_TOLEDO, "mask_width": 8},
}
PRESET_SUMMARIES = {
    "original": "The paper's plain baseline, 144 px, 9,352,195 parameters",
    "modified": "The paper's DenseNet variant, 144 px, 6,283,267 parameters",
    "small": "`original` at a quarter of the width, 48 px",
    "small_modified": "`modified` at a quarter of the width, 48 px",
    "toledo": "Toledo and Antonelo's network, 144 px; 9,067,395 parameters as Keras counts, with the norms' statistics",
    "toledo_mask": "`toledo` with a second decoder, for the face mask; 9,337,188 parameters counted so",
    "small_toledo": "`toledo` at a quarter of the width, 48 px",
    "small_toledo_mask": "`toledo_mask` at a quarter of the width, 48 px",
}
