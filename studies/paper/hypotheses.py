"""The ten hypotheses of Toledo & Antonelo 2021 as changes of the training protocol, and the network for each of them. No torch.

Five losses, each with and without the face mask: L1 with weight 4, mean squared error with weight 100, SSIM under a Gaussian window
of 9 pixels; KL with weight 1e-3 on its mean over the latent dimensions; Adam at 1e-4 in batches of 32, as in the paper's protocol,
with each parameter's gradient clipped to norm 1e-3. These are their released code's. Its SSIM loss is 2 - SSIM, a constant away
from ours, and its Adam has Keras' settings, ours torch's. Dice is averaged over images here.

What they found, on CelebA: the mask helps under every loss but SSIM alone; best of all is SSIM + L2 with the mask; without the
mask, SSIM alone is the best by perceptual metrics; SSIM alone shifts colour.
"""

from __future__ import annotations

from typing import Any

from ablation.design.spec import ModelSpec, preset

MASKED = ", mask"  # how the name of a hypothesis with the face mask ends
# SSIM, L1 and L2 weights
_COMMON: dict[str, Any] = {
    "ssim_window": "gaussian",
    "ssim_size": 9,
    "kl_weight": 1e-3,
    "kl_mean": True,
    "clip_norm": 1e-3,
}
_WEIGHTS = {
    "L1": (0.0, 4.0, 0.0),
    "L1 + SSIM": (1.0, 4.0, 0.0),
    "L2": (0.0, 0.0, 100.0),
    "L2 + SSIM": (1.0, 0.0, 100.0),
    "SSIM": (1.0, 0.0, 0.0),
}


def _changes(name: str, mask_weight: float) -> dict[str, Any]:
    ssim, l1, l2 = _WEIGHTS[name]
    return {**_COMMON, "ssim_weight": ssim, "l1_weight": l1, "l2_weight": l2, "mask_weight": mask_weight}


HYPOTHESES: dict[str, dict[str, Any]] = {
    name + suffix: _changes(name, weight) for name in _WEIGHTS for suffix, weight in (("", 0.0), (MASKED, 1.0))
}


def network_of(hypothesis: str, image_size: int = 144, *, small: bool = False) -> ModelSpec:
    """The network that a hypothesis is tried on, at full or at a quarter of the width: with a mask decoder where it has a mask."""
    name = ("small_" if small else "") + "toledo" + ("_mask" if HYPOTHESES[hypothesis]["mask_weight"] else "")
    return at_size(preset(name), image_size)


def at_size(spec: ModelSpec, image_size: int) -> ModelSpec:
    """A Toledo network for another image size: as many stages as halvings of the side, by leaving out or repeating wide ones.

    The encoder's first stages and its last, and the decoder's last stages, stay as they are.
    """
    halvings = image_size.bit_length() - 1
    *encoder, last = spec.encoder_widths
    decoder = spec.decoder_widths
    more = max(0, halvings - len(decoder))
    return spec.replace(
        image_size=image_size,
        encoder_widths=(*(encoder + encoder[-1:] * more)[: halvings - 1], last),
        decoder_widths=((decoder[0],) * more + decoder)[-halvings:],
    )
