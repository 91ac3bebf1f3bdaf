"""Rendered faces: reproducible, resolution independent, every factor visible, masks and attributes true."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ablation.data.faces.factors import Traits
from ablation.data.faces.rendered import (
    ATTRIBUTE_NAMES,
    FACTOR_NAMES,
    FACTORS,
    LAYERS,
    derive_attributes,
    render,
    render_faces,
    sample_factors,
)
from ablation.data.faces.view import View
from blocks.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
BACKGROUND = ("background_hue", "background_tone", "background_pattern")
GOLDEN_FACTORS = "f87356920c642d21"
GOLDEN_IMAGES = "6c8e495a8992ab36"


def face(**values: float) -> NDArray[np.float32]:
    """Factors in the middle of their ranges, categorical ones at their first level, except those given."""
    row = [values.pop(factor.name, 0.0 if factor.levels else 0.5) for factor in FACTORS]
    assert not values, f"no such factor: {values}"
    return np.array(row, np.float32)


def picture(**values: float) -> NDArray[np.int64]:
    """3 x S x S of `face`; size=48 unless given."""
    size = int(values.pop("size", 48))
    return np.asarray(render(face(**values), size)[0], np.int64)


def digest(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def many() -> NDArray[np.float32]:
    return np.stack([sample_factors(index, 3) for index in range(500)])


def column(factors: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return factors[:, FACTOR_NAMES.index(name)]


def attribute(factors: NDArray[np.float32], name: str) -> NDArray[np.bool_]:
    return derive_attributes(factors)[:, ATTRIBUTE_NAMES.index(name)].astype(bool)


# Reproducible


def test_bytes_are_the_published_ones() -> None:
    """On every machine, with every numpy: a change here changes the data set and every result made with it."""
    batch = render_faces(12, 32, seed=0)
    assert digest(batch.factors) == GOLDEN_FACTORS
    assert digest(batch.images) == GOLDEN_IMAGES


def test_face_does_not_depend_on_what_else_is_rendered() -> None:
    whole, part = render_faces(6, 24, seed=5), render_faces(2, 24, seed=5, start=3)
    for name in ("images", "masks", "factors", "attributes"):
        np.testing.assert_array_equal(getattr(whole, name)[3:5], getattr(part, name), err_msg=name)


def test_another_process_renders_the_same() -> None:
    code = "import sys; from ablation.data.faces import render_faces as r; sys.stdout.buffer.write(r(3, 24, 9).images.tobytes())"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout
    assert out == render_faces(3, 24, seed=9).images.tobytes()


def test_seeds_and_indices_give_different_faces() -> None:
    rows = {sample_factors(index, seed).tobytes() for index in range(50) for seed in (0, 1)}
    assert len(rows) == 100
    assert (render_faces(1, 24, seed=0).images != render_faces(1, 24, seed=1).images).mean() > 0.5


def test_shapes_and_types() -> None:
    batch = render_faces(3, 17, seed=1)
    assert batch.images.shape == (3, 3, 17, 17) and batch.images.dtype == np.uint8
    assert batch.masks.shape == (3, 17, 17) and batch.masks.dtype == np.uint8
    assert batch.factors.shape == (3, len(FACTORS)) and batch.factors.dtype == np.float32
    assert batch.attributes.shape == (3, len(ATTRIBUTE_NAMES)) and batch.attributes.dtype == np.uint8


# The picture


def test_same_face_at_48_and_144_pixels() -> None:
    small, large = render_faces(12, 48, seed=2), render_faces(12, 144, seed=2)
    np.testing.assert_array_equal(small.factors, large.factors)
    # N x 3 x 48 x 3 x 48 x 3 -> N x 3 x 48 x 48
    boxed = large.images.reshape(12, 3, 48, 3, 48, 3).mean(axis=(3, 5))
    assert np.abs(boxed - small.images).mean() < 1.5
    share = large.masks.reshape(12, 48, 3, 48, 3).mean(axis=(2, 4))
    assert ((share > 0.5) != small.masks).mean() < 0.01


def test_samples_stay_in_single_precision() -> None:
    view = View.whole(Traits.of(sample_factors(0, 0)), 32)
    for layer in LAYERS:
        layer(view)
    assert {array.dtype for array in (view.rgb, view.mask, view.lit, view.x, view.Y)} == {np.dtype(np.float32)}
    assert np.isfinite(view.rgb).all() and view.mask.min() >= 0 and view.mask.max() <= 1


def test_windows_cut_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn over the whole picture instead of in windows, each layer gives the same."""
    windowed = render_faces(25, 40, seed=11)
    monkeypatch.setattr(View, "window", lambda self, *bounds: self)
    monkeypatch.setattr(View, "rows", lambda self, first: self)
    whole = render_faces(25, 40, seed=11)
    difference = np.abs(windowed.images.astype(int) - whole.images)
    assert difference.max() <= 3, [int(d.max()) for d in difference]
    np.testing.assert_array_equal(windowed.masks, whole.masks)


# What makes each factor show, and where it is not in the middle anyway
SETTINGS: dict[str, dict[str, float]] = {
    "facial_hair": {"masculinity": 0.8},
    "make_up": {"masculinity": 0.2},
    "hair_curl": {"hair_length": 0.8},
    "age": {"masculinity": 0.2},
    "hair_colour": {"age": 0.2},
}


@pytest.mark.parametrize("name", FACTOR_NAMES)
def test_every_factor_is_visible(name: str) -> None:
    factor = FACTORS[FACTOR_NAMES.index(name)]
    settings = SETTINGS.get(name, {})
    steps = np.linspace(factor.low, factor.high, max(factor.levels, 3))
    shown = [picture(**settings, **{name: float(step)}) for step in steps]
    # pixels that change by more than 8 levels, from step to step
    changed = [int((np.abs(one - other).max(axis=0) > 8).sum()) for one, other in zip(shown, shown[1:], strict=False)]
    if name in ("mouth_open", "earrings"):
        # closed, or none, over their lower half
        changed = changed[1:]
    assert min(changed) >= 8, changed


def test_earrings_and_open_mouth_begin_where_documented() -> None:
    np.testing.assert_array_equal(picture(earrings=0.0), picture(earrings=0.65))
    np.testing.assert_array_equal(picture(mouth_open=0.0), picture(mouth_open=0.45))


def test_gates_of_masculinity() -> None:
    np.testing.assert_array_equal(picture(masculinity=0.4, facial_hair=0), picture(masculinity=0.4, facial_hair=4))
    np.testing.assert_array_equal(picture(masculinity=0.6, make_up=0.0), picture(masculinity=0.6, make_up=1.0))


def test_reconstruction_is_not_trivial() -> None:
    """32 principal components of 160 faces leave at least a tenth of the variance of 40 others."""
    images = render_faces(200, 24, seed=4).images.reshape(200, -1) / 255.0
    mean = images[:160].mean(axis=0)
    components = np.linalg.svd(images[:160] - mean, full_matrices=False)[2][:32]
    centred = images[160:] - mean
    residual = centred - centred @ components.T @ components
    assert (residual**2).sum() / (centred**2).sum() > 0.1
    assert np.sqrt((residual**2).mean()) > 0.04


# The mask


def test_mask_area_is_plausible_and_never_empty() -> None:
    share = render_faces(150, 32, seed=6).masks.mean(axis=(1, 2))
    assert share.min() > 0.05 and share.max() < 0.45
    assert 0.1 < share.mean() < 0.3


@pytest.mark.parametrize("index", range(6))
def test_background_shows_outside_the_mask_only(index: int) -> None:
    factors = sample_factors(index, 8)
    factors[[FACTOR_NAMES.index(name) for name in BACKGROUND]] = 0.2, 0.1, 0.1
    before, mask = render(factors, 48)
    factors[[FACTOR_NAMES.index(name) for name in BACKGROUND]] = 0.8, 0.9, 0.9
    after, same = render(factors, 48)
    np.testing.assert_array_equal(mask, same)
    inside = mask.astype(bool)
    inner = inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    changed = (before != after).any(axis=0)
    assert not changed[1:-1, 1:-1][inner].any()
    assert changed[~inside].mean() > 0.4


def test_mask_is_exactly_where_skin_shows() -> None:
    """Change the skin alone: a bare face changes all over its mask, and outside it only ears, neck and edges do."""
    settings = {"hair_length": 0.0, "masculinity": 0.9, "mouth_open": 0.0, "eye_size": 0.0}
    mask = render(face(**settings, skin_tone=0.0), 96)[1].astype(bool)
    change = np.abs(picture(size=96, **settings, skin_tone=0.0) - picture(size=96, **settings, skin_tone=1.0)).max(axis=0)
    assert (change[mask] > 20).mean() > 0.93
    above = np.zeros_like(mask)
    # ears and neck lie lower
    above[:40] = True
    assert (change[above & ~mask] > 60).mean() < 0.02


def test_hair_and_hats_are_not_face() -> None:
    bare = render(face(hair_length=0.0, masculinity=0.9), 48)[1]
    for covered in (face(hair_length=0.0, masculinity=0.9, hat=1), face(hair_length=1.0, masculinity=0.9, bangs=1.0)):
        mask = render(covered, 48)[1]
        assert mask.sum() < 0.9 * bare.sum()
        assert not (mask & ~bare).any()


# Factors and attributes


def test_factors_stay_in_range_and_fill_it(many: NDArray[np.float32]) -> None:
    for factor, values in zip(FACTORS, many.T, strict=True):
        assert factor.low <= values.min() and values.max() <= factor.high, factor.name
        if factor.levels:
            counts = np.bincount(values.astype(int), minlength=factor.levels) / len(values)
            np.testing.assert_allclose(counts, factor.odds, atol=0.07, err_msg=factor.name)
        else:
            np.testing.assert_allclose(np.quantile(values, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.07, err_msg=factor.name)


def test_factors_are_independent(many: NDArray[np.float32]) -> None:
    correlation = np.corrcoef(many.T) - np.eye(len(FACTORS))
    # 666 pairs of 500 samples: the largest by chance is about 0.15
    assert np.abs(correlation).max() < 0.2


def test_names_are_unique_and_odds_add_up() -> None:
    assert len(set(FACTOR_NAMES)) == len(FACTORS) and len(set(ATTRIBUTE_NAMES)) == len(ATTRIBUTE_NAMES)
    for factor in FACTORS:
        assert len(factor.odds) == factor.levels
        assert not factor.levels or sum(factor.odds) == pytest.approx(1.0)


def test_every_attribute_takes_both_values(many: NDArray[np.float32]) -> None:
    share = dict(zip(ATTRIBUTE_NAMES, derive_attributes(many).mean(axis=0), strict=True))
    assert {name: float(value) for name, value in share.items() if not 0.01 < value < 0.95} == {}


@pytest.mark.parametrize(
    ("name", "factor", "low", "high"),
    [
        ("Male", "masculinity", 0.5, 1.0),
        ("Smiling", "smile", 0.55, 1.0),
        ("Eyeglasses", "glasses", 0.5, 3.5),
        ("Wearing_Hat", "hat", 0.5, 3.5),
        ("Mouth_Slightly_Open", "mouth_open", 0.55, 1.0),
        ("Big_Nose", "nose_size", 0.65, 1.0),
        ("Big_Lips", "lip_fullness", 0.65, 1.0),
        ("Narrow_Eyes", "eye_openness", -1.0, 0.3),
        ("Bushy_Eyebrows", "brow_thickness", 0.65, 1.0),
        ("Pale_Skin", "skin_tone", -1.0, 0.15),
        ("Young", "age", -1.0, 0.6),
        ("Wearing_Earrings", "earrings", 0.65, 1.0),
    ],
)
def test_attribute_is_its_factor_within_bounds(many: NDArray[np.float32], name: str, factor: str, low: float, high: float) -> None:
    values = column(many, factor)
    np.testing.assert_array_equal(attribute(many, name), (values > low) & (values < high))


def test_attributes_agree_with_each_other(many: NDArray[np.float32]) -> None:
    coloured = np.stack([attribute(many, name) for name in ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")]).sum(axis=0)
    assert (coloured <= 1).all()
    assert not coloured[attribute(many, "Bald")].any()
    assert not (attribute(many, "Wearing_Lipstick") & attribute(many, "Male")).any()
    assert not (~attribute(many, "No_Beard") & ~attribute(many, "Male")).any()
    assert not (attribute(many, "Goatee") & attribute(many, "No_Beard")).any()


def test_bald_faces_are_drawn_without_hair() -> None:
    """Hair colour shows in nothing but brows: no pixel of the upper third changes."""
    settings = {"hair_length": 0.05, "masculinity": 0.9, "age": 0.2}
    assert attribute(face(**settings)[None], "Bald").all()
    change = np.abs(picture(**settings, hair_colour=0.0) - picture(**settings, hair_colour=1.0))
    assert change[:, :16].max() == 0 and change.max() > 30


# Wrong input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: render_faces(0, 32, 0), "num_images must be at least 1. Got 0"),
        (lambda: render_faces(1, 4, 0), "size must be 8 pixels or more. Got 4"),
        (lambda: sample_factors(-1, 0), "index must be"),
        (lambda: sample_factors(0, -1), "seed must be"),
        (lambda: render(np.zeros(3, np.float32), 32), "factors must be one row of"),
        (lambda: render(face(smile=1.5), 32), "smile must be from 0 to 1. Got 1.5"),
        (lambda: derive_attributes(face(hat=9.0)[None]), "hat must be a whole number from 0 to 3. Got 9"),
        (lambda: render(face(hat=1.5), 32), "hat must be a whole number from 0 to 3. Got 1.5"),
        (lambda: render(face(age=float("nan")), 32), "age must be from 0 to 1. Got nan"),
    ],
)
def test_wrong_input_is_named(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(InputError, match=words):
        call()
