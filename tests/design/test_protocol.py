"""Protocols: wrong settings."""

from __future__ import annotations

import pytest

from ablation.design.protocol import LATER, Protocol
from blocks.errors import InputError


def test_wrong_settings_are_told_in_one_line() -> None:
    wrong = {
        "ssim_size": (7, r"^ssim_size must be one of 9, 11\. Got 7"),
        "kl_mean": (1, r"^kl_mean must be true or false\. Got 1"),
        "mask_weight": (-1, r"^mask_weight must be zero or a positive number\. Got -1"),
        "l2_weight": (float("nan"), r"^l2_weight must be zero or a positive number\. Got nan"),
        "clip_norm": ("1", r"^clip_norm must be a number\. Got '1'"),
    }
    assert set(wrong) == set(LATER)
    for name, (value, message) in wrong.items():
        with pytest.raises(InputError, match=message):
            Protocol(**{name: value})


def test_something_asks_for_a_likeness() -> None:
    with pytest.raises(InputError, match=r"ssim_weight, l1_weight and l2_weight must be not all 0"):
        Protocol(ssim_weight=0.0, l1_weight=0.0)
    assert Protocol(ssim_weight=0.0, l1_weight=0.0, l2_weight=1.0).l2_weight == 1.0
