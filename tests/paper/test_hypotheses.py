"""The ten hypotheses about the loss, and their network at every image size."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ablation import preset
from ablation.design.protocol import Protocol
from studies.paper.hypotheses import HYPOTHESES, at_size, network_of
from tests.builders import on_meta


def test_ten_hypotheses() -> None:
    losses = ["L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM"]
    assert list(HYPOTHESES) == [name + suffix for name in losses for suffix in ("", ", mask")]
    for name, changes in HYPOTHESES.items():
        protocol = Protocol(**changes)
        assert protocol.ssim_weight == ("SSIM" in name)
        assert protocol.l1_weight == 4 * ("L1" in name)
        assert protocol.l2_weight == 100 * ("L2" in name)
        assert protocol.mask_weight == ("mask" in name)
        common = (protocol.ssim_window, protocol.ssim_size, protocol.kl_weight, protocol.kl_mean, protocol.clip_norm)
        assert common == ("gaussian", 9, 1e-3, True, 1e-3)
        assert (protocol.learning_rate, protocol.batch_size) == (1e-4, 32)
        assert network_of(name) == preset("toledo_mask" if "mask" in name else "toledo")
        assert network_of(name, 48, small=True) == preset("small_toledo_mask" if "mask" in name else "small_toledo")
    code = "import sys, studies.paper.hypotheses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", [2, 5, 16, 32, 63, 64, 96, 128, 256, 511])
def test_the_network_at_other_sizes(size: int) -> None:
    for name in ("toledo_mask", "small_toledo"):
        spec = at_size(preset(name), size)
        halvings = len(bin(size)) - 3
        assert len(spec.encoder_widths) == len(spec.decoder_widths) == halvings
        assert spec.encoder_widths[-1] == preset(name).encoder_widths[-1]
        assert spec.decoder_widths[-1] == preset(name).decoder_widths[-1]
        reconstruction, mean, _ = on_meta(spec)(torch.empty(2, 3, size, size, device="meta"))
        assert (reconstruction.shape, mean.shape) == ((2, 3, size, size), (2, spec.latent_dim))
    assert at_size(preset("toledo"), 96).encoder_widths == (32, 64, 128, 256, 256, 512)
    assert at_size(preset("toledo"), 256).decoder_widths == (256, 256, 256, 256, 128, 64, 32, 32)
