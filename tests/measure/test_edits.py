"""Traversals and edits of models whose geometry is known: linear decoders, patches that move, attributes planted in directions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from ablation.design.compose import build
from ablation.design.spec import preset
from ablation.measure.edits.decoding import chosen_images
from ablation.measure.edits.directions import Units, class_difference, edit_steps, fit_probes, halves
from ablation.measure.edits.scores import edit_attributes, scores
from ablation.measure.edits.traversal import locality, path_measures, traverse
from ablation.measure.quality.losses import C1
from blocks.errors import InputError

SIDE = 32
GAP = 2 * (2 / np.pi) ** 0.5  # E[z | z > 0] - E[z | z < 0] of a standard Gaussian


class Painter(nn.Module):
    """Dimension 0 lightens a patch of 8 x 8, 1 lightens all, 2 moves a white patch, 3 lightens all in one jump at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def decode(self, z: Tensor) -> Tensor:
        images = torch.full((len(z), 3, SIDE, SIDE), 0.4)
        images = images + 0.1 * z[:, 1].view(-1, 1, 1, 1) + 0.1 * (z[:, 3] > 0).view(-1, 1, 1, 1)
        images[:, :, 4:12, 4:12] += 0.1 * z[:, 0].view(-1, 1, 1, 1)
        for number, place in enumerate((z[:, 2] * 4 + 12).round().int().tolist()):
            images[number, :, 20:28, place : place + 8] = 1.0
        return images


def spread_means(num: int = 201, dims: int = 4, collapsed: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """Means whose 2.5 to 97.5 % range is exactly -1.6 to 1.6 in every dimension but the collapsed ones, which stay at 0."""
    values = np.linspace(-1, 1, num) * (1.6 / 0.95)
    mean = np.stack([np.random.default_rng(d).permutation(values) for d in range(dims)], axis=1)
    mean[:, list(collapsed)] = 0
    return mean.astype(np.float32)


def painted(dim: int, num_steps: int = 9, **settings: Any) -> dict[str, Any]:
    """The entry of one dimension of `Painter`, the other dimensions resting at 0."""
    mean = spread_means(collapsed=tuple(d for d in range(4) if d != dim))
    kl = np.eye(4)[dim]
    result, _ = traverse(Painter(), mean, kl, num_dims=1, num_steps=num_steps, **settings)
    assert [entry["dim"] for entry in result["dims"]] == [dim]
    return result["dims"][0]


def test_a_patch_that_lightens_by_hand() -> None:
    entry = painted(0)
    assert (entry["low"], entry["high"]) == (pytest.approx(-1.6), pytest.approx(1.6))
    assert entry["share_changed"] == 64 / 1024
    assert entry["locality"] == pytest.approx(1)  # 6.25 % of the pixels have all of it
    assert entry["l1_change"] == pytest.approx(0.32 * 64 / 1024, rel=1e-5)
    assert entry["l1_path_length"] == pytest.approx(entry["l1_change"], rel=1e-5)  # it lightens steadily, so no way back
    assert painted(0, threshold=0.33)["share_changed"] == 0


def test_path_length_of_flat_images_by_hand() -> None:
    # flat images have no variance, so that SSIM is (2xy + C1) / (x^2 + y^2 + C1)
    grey = np.linspace(0.24, 0.56, 9)
    frames = torch.tensor(grey).view(1, 9, 1, 1, 1).expand(1, 9, 3, SIDE, SIDE)
    result = path_measures(frames, 0.05)
    steps = [1 - (2 * x * y + C1) / (x * x + y * y + C1) for x, y in zip(grey, grey[1:], strict=False)]
    assert result["path_length"] == pytest.approx(sum(steps), rel=1e-6)
    assert result["smoothness"] == pytest.approx(np.mean(steps) / max(steps), rel=1e-6)
    assert (result["step_mean"], result["step_max"]) == (pytest.approx(np.mean(steps)), pytest.approx(max(steps)))
    assert (result["share_changed"].item(), result["locality"].item()) == (1, pytest.approx(0.1, rel=1e-9))
    assert result["l1_change"] == pytest.approx(0.32)


def test_path_length_agrees_with_scikit_image() -> None:
    mean, kl = spread_means(), np.array([3.0, 0, 0, 0])
    result, _ = traverse(Painter(), mean, kl, num_images=3, num_dims=1, num_steps=5)
    lengths = []
    for row in result["image_numbers"]:
        latent = torch.from_numpy(np.repeat(mean[row : row + 1], 5, axis=0))
        latent[:, 0] = torch.linspace(-1.6, 1.6, 5)
        frames = Painter().decode(latent).double().numpy()
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 0}
        lengths.append(sum(1 - structural_similarity(a, b, **settings) for a, b in zip(frames, frames[1:], strict=False)))
    assert result["path_length_mean"] == pytest.approx(np.mean(lengths), rel=1e-3)


def test_a_patch_that_moves_changes_where_it_was_and_where_it_is() -> None:
    entry = painted(2)  # from column 6 to column 18: two separate patches of 64 pixels, changed alike
    assert entry["share_changed"] == 128 / 1024
    assert entry["locality"] == pytest.approx(0.1 / 0.125)
    assert entry["l1_change"] == pytest.approx(0.6 * 0.125, rel=1e-5)
    assert entry["l1_path_length"] == pytest.approx(12 * 2 * 8 * 0.6 / 1024, rel=1e-5)  # 12 columns, each uncovered and covered


def test_a_jump_is_the_least_smooth_path() -> None:
    assert painted(3)["smoothness"] == pytest.approx(1 / 8)
    assert painted(3, num_steps=5)["smoothness"] == pytest.approx(1 / 4)
    assert painted(0)["smoothness"] > 0.5


def test_locality_counts_a_part_of_a_pixel_and_all_channels() -> None:
    change = torch.zeros(2, 3, 5, 5, dtype=torch.float64)
    change[0, 0, 0, 0], change[0, 1, 2, 2], change[0, 2, 4, 4], change[0, 1, 4, 4] = 3.0, 2.0, 1.0, 1.0  # squares 9, 4, 1 + 1
    assert locality(change)[0].item() == pytest.approx((9 + 4 + 0.5 * 2) / 15)  # a tenth of 25 pixels is 2.5
    assert torch.isnan(locality(change)[1])


def test_collapsed_dimensions_are_named_and_not_averaged() -> None:
    mean, kl = spread_means(dims=6, collapsed=(5,)), np.array([3.0, 1, 0, 0, 0, 2])
    result, arrays = traverse(Painter(), mean, kl, num_dims=3)
    assert [entry["dim"] for entry in result["dims"]] == [0, 5, 1]
    assert (result["collapsed"], result["averaged"]) == ([5], [0, 1])
    first, still, last = result["dims"]
    assert (still["path_length"], still["share_changed"], still["collapsed"]) == (0, 0, True)
    assert {"smoothness", "locality"} & set(still) == set()
    for name, key in (("path_length", "path_length_mean"), ("share_changed", "share_changed_mean"), ("smoothness", "smoothness")):
        assert result[key] == pytest.approx((first[name] + last[name]) / 2)
    assert arrays["traversal"].shape == (3, 9, 3, SIDE, SIDE)
    assert (arrays["traversal"][1] == arrays["traversal"][1, :1]).all()
    assert "not_computed" not in result


def test_without_an_active_dimension_there_are_no_means() -> None:
    result, _ = traverse(Painter(), 0.05 * spread_means(), np.array([3.0, 1, 0, 0]), num_dims=2)
    assert result["collapsed"] == [0, 1]
    assert {"path_length_mean", "smoothness", "share_changed_mean"} & set(result) == set()
    assert result["not_computed"]["traversal"].startswith("none of the 2 dimensions with the largest KL is active")


def test_the_papers_traversal_is_recorded_as_it_was_made() -> None:
    result, arrays = traverse(Painter(), spread_means(), np.array([3.0, 2, 1, 0.5]))  # 20 modulo 4: dimension 0
    paper = result["paper"]
    assert {name: paper[name] for name in ("dim", "dim_in_paper", "kl", "low", "high", "num_steps")} == {
        "dim": 0, "dim_in_paper": 20, "kl": 3.0, "low": -3.0, "high": 3.0, "num_steps": 5,
    }  # fmt: skip
    assert (paper["posterior_low"], paper["posterior_high"]) == (pytest.approx(-1.6), pytest.approx(1.6))
    assert paper["image_number"] == result["image_numbers"][0]
    assert paper["l1_change"] == pytest.approx(0.6 * 64 / 1024, rel=1e-4)
    row = spread_means()[paper["image_number"]]
    latent = torch.from_numpy(np.stack([np.r_[value, row[1:]] for value in (-3.0, -1.5, 0, 1.5, 3.0)])).float()
    expected = (Painter().decode(latent).clamp(0, 1) * 255).round().byte().numpy()
    np.testing.assert_array_equal(arrays["traversal_paper"], expected[None])
    with_all = spread_means(dims=21)
    assert traverse(Painter(), with_all, np.zeros(21), num_dims=1, num_images=1)[0]["paper"]["dim"] == 20


def test_images_are_the_same_for_models_with_as_many_and_differ_by_seed() -> None:
    first, again, other = (chosen_images(500, 8, seed, "traversal").tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert first == sorted(set(first)) and len(first) == 8
    assert chosen_images(3, 8, 0, "traversal").tolist() == [0, 1, 2]


def test_batch_size_and_mode_of_the_model_do_not_matter() -> None:
    model = build(preset("small").replace(latent_dim=8), seed=3)
    model.train()
    model.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mean, kl = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32), np.arange(8.0)
    settings = {"num_images": 2, "num_dims": 3, "num_steps": 3}
    first, again, other = (traverse(model, mean, kl, batch_size=size, **settings) for size in (32, 32, 5))
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1]["traversal"], again[1]["traversal"])
    assert other[0]["path_length_mean"] == pytest.approx(first[0]["path_length_mean"], rel=1e-3)
    assert [entry["dim"] for entry in first[0]["dims"]] == [7, 6, 5]
    assert first[0]["paper"]["dim"] == 4  # 20 modulo 8
    assert model.training and not model.head.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_traverse_says_what_is_wrong() -> None:
    mean = spread_means()
    with pytest.raises(InputError, match=r"^kl_per_dim must be 4 finite numbers"):
        traverse(Painter(), mean, np.zeros(3))
    with pytest.raises(InputError, match=r"^mean must be finite\. Got '?1 values that are not"):
        traverse(Painter(), np.where(np.arange(4) + np.arange(201)[:, None] == 0, np.nan, mean), np.zeros(4))
    with pytest.raises(InputError, match=r"^num_images, num_dims and num_steps must be at least 1, 1 and 2\."):
        traverse(Painter(), mean, np.zeros(4), num_steps=1)
    with pytest.raises(InputError, match=r"^mean must be posterior means, N x D"):
        traverse(Painter(), mean[:0], np.zeros(4))


class Linear(nn.Module):
    """An image of 3 x 4 x 4 is a rotated latent vector, encoding its inverse; `lost` dimensions are not decoded."""

    def __init__(self, dims: int, lost: tuple[int, ...] = ()) -> None:
        super().__init__()
        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((48, 48)))[0][:, :dims]
        self.basis = torch.from_numpy(basis).float()
        self.shown = torch.tensor([0.0 if d in lost else 1.0 for d in range(dims)])

    def decode(self, z: Tensor) -> Tensor:
        return 0.5 + 0.05 * (z * self.shown @ self.basis.T).view(-1, 3, 4, 4)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x.flatten(1) - 0.5) / 0.05 @ self.basis
        return mean, torch.zeros_like(mean)


def gaussian(num: int, covariance: NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    """Means whose sample covariance is exactly the given one, so that only labels are left to chance."""
    draws = np.random.default_rng(seed).standard_normal((num, len(covariance)))
    draws -= draws.mean(0)
    draws = draws @ np.linalg.inv(np.linalg.cholesky(draws.T @ draws / num)).T
    return (draws @ np.linalg.cholesky(covariance).T).astype(np.float32)


def edited(
    covariance: NDArray[np.float64], planted: NDArray[np.float64], lost: tuple[int, ...] = (), **settings: Any
) -> dict[str, Any]:
    """Edits of a linear model where attribute k is the side of a plane with normal planted[k], named "0", "1", ..."""
    train, test = gaussian(6000, covariance), gaussian(400, covariance, seed=1)
    attributes = (train @ planted.T > 0).astype(np.uint8)
    names = tuple(map(str, range(len(planted))))
    return edit_attributes(Linear(len(covariance), lost), train, attributes, test, names, num_images=8, **settings)[0]


def test_orthogonal_attributes_do_not_leak() -> None:
    result = edited(np.diag([1.0, 4.0, 0.25, 1.0]), np.eye(4)[:3])
    assert set(result["edits"]) == {"0", "1", "2"}
    for edit in result["edits"].values():
        for kind in ("probe", "mean_difference"):  # in each dimension's own units, a whole edit is the gap between its halves
            assert edit[kind]["target"] == pytest.approx(GAP, rel=0.03)
            assert edit[kind]["leakage"] < 0.06
            assert edit[kind]["specificity"] == pytest.approx(edit[kind]["target"] / (edit[kind]["target"] + edit[kind]["leakage"]))
    assert result["edits_mean"]["probe"]["specificity"] > 0.96
    assert result["edits_mean"]["probe"]["target"] == pytest.approx(
        np.mean([edit["probe"]["target"] for edit in result["edits"].values()])
    )


def test_attributes_at_45_degrees_leak_by_the_cosine() -> None:
    result = edited(np.eye(4), np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]]))
    for edit in result["edits"].values():
        assert edit["probe"]["target"] == pytest.approx(GAP, rel=0.03)
        assert edit["probe"]["leakage"] == pytest.approx(GAP / 2**0.5, rel=0.06)
        assert edit["probe"]["specificity"] == pytest.approx(1 / (1 + 0.5**0.5), abs=0.02)


def test_leaks_of_opposite_signs_do_not_cancel() -> None:
    result = edited(np.eye(4), np.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [-1, 1, 0, 0]]))
    assert result["edits"]["0"]["probe"]["leakage"] == pytest.approx(GAP / 2**0.5, rel=0.06)
    assert result["edits"]["1"]["probe"]["leakage"] == pytest.approx(GAP / 2**1.5, rel=0.06)  # all of it into attribute 0


def test_the_probe_leaves_out_what_goes_along_and_the_mean_difference_does_not() -> None:
    # dimensions 0 and 1 correlate by 0.6 and carry one attribute each: the class means of attribute 0 differ by GAP * (1, 0.6), the
    # plane between its classes has the normal (1, 0). Both edits are GAP * sqrt(1 + 0.36) long
    covariance = np.eye(3)
    covariance[0, 1] = covariance[1, 0] = 0.6
    result = edited(covariance, np.eye(3)[:2])
    for name in "01":
        edit = result["edits"][name]
        assert edit["mean_difference"]["target"] == pytest.approx(GAP, rel=0.06)
        assert edit["mean_difference"]["leakage"] == pytest.approx(0.6 * GAP, rel=0.1)
        assert edit["probe"]["target"] == pytest.approx(1.36**0.5 * GAP, rel=0.06)
        assert edit["probe"]["leakage"] < 0.15
        assert result["edits_setup"]["cosine"][name] == pytest.approx(1 / 1.36**0.5, abs=0.02)
        assert result["edits_setup"]["distance"][name] == pytest.approx(1.36**0.5 * GAP, rel=0.03)
    assert result["edits_mean"]["probe"]["specificity"] > result["edits_mean"]["mean_difference"]["specificity"] + 0.2


def test_directions_of_gaussian_classes_follow_fisher() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 40_000)
    within = np.array([[1.0, 0.5], [0.5, 2.0]])
    mean = random.multivariate_normal([0, 0], within, 40_000) + labels[:, None] * np.array([1.0, 0.0])
    units = Units.of(mean)
    standard = units.standard(mean)
    np.testing.assert_allclose(standard.std(0), 1)
    difference = class_difference(standard, labels)
    normal = fit_probes(standard, labels[:, None], (0,)).weights[0]
    np.testing.assert_allclose(difference * units.spread, [1, 0], atol=0.03)
    np.testing.assert_allclose(normal / units.spread, np.linalg.solve(within, [1.0, 0.0]), atol=0.05)  # logit per unit of z
    steps = edit_steps(difference, normal)
    assert np.linalg.norm(steps["probe"]) == pytest.approx(np.linalg.norm(steps["mean_difference"]))


def test_a_change_that_the_image_does_not_show_does_not_count() -> None:
    shown, lost = (edited(np.eye(3), np.eye(3), lost)["edits"]["1"]["probe"] for lost in ((), (1,)))
    assert shown["target"] == pytest.approx(GAP, rel=0.03)
    assert abs(lost["target"]) < 0.1 and lost["specificity"] < 0.7


def test_no_direction_is_scored_by_its_own_probe() -> None:
    # attributes that mean nothing: in 40 dimensions a probe learns 100 labels by heart, and by its own measure the edit works
    random = np.random.default_rng(5)
    mean, attributes = gaussian(200, np.eye(40), seed=3), random.integers(0, 2, (200, 6)).astype(np.uint8)
    result, _ = edit_attributes(Linear(40), mean, attributes, gaussian(100, np.eye(40), seed=4), tuple("abcdef"), num_images=4)
    assert len(result["edits"]) == 6
    first, _ = halves(200, 0)
    standard = Units.of(mean.astype(np.float64)).standard(mean)[first]
    own = fit_probes(standard, attributes[first], tuple(range(6)))
    steps = [edit_steps(class_difference(standard, attributes[first][:, c]), own.weights[c])["probe"] for c in range(6)]
    by_its_own = np.mean([own.weights[c] @ steps[c] / np.linalg.norm(own.weights[c]) for c in range(6)])
    assert by_its_own > 1
    assert abs(result["edits_mean"]["probe"]["target"]) < 0.35


def test_halves_are_disjoint_and_cover_everything() -> None:
    first, second = halves(101, 7)
    assert (len(first), len(second)) == (50, 51)
    assert sorted([*first, *second]) == list(range(101))
    assert halves(101, 8)[0].tolist() != first.tolist()


def test_labels_alone_choose_what_is_edited_and_the_others_are_named() -> None:
    """Two models that hold the attributes differently are asked for the same."""
    random = np.random.default_rng(0)
    mean, test = gaussian(1000, np.eye(5)), gaussian(50, np.eye(5), seed=1)
    noisy = [
        mean[:, d] + noise * random.standard_normal(1000) > bound
        for d, noise, bound in ((0, 0.3, 0.4), (1, 2.0, 0.0), (2, 0.0, 0.9))
    ]
    rare, unrelated = np.arange(1000) < 30, np.arange(1000) % 2 == 0
    attributes = np.stack([*noisy, rare, unrelated], axis=1).astype(np.uint8)
    names = ("clear", "blurred", "exact", "rare", "unrelated")
    setups = []
    for seen in (mean, np.roll(mean, 2, axis=1)[::-1]):
        result, arrays = edit_attributes(Linear(5), seen, attributes, test, names, num_attributes=2, num_images=4)
        setup = result["edits_setup"]
        assert list(result["edits"]) == setup["edited"] == arrays["edits_names"].tolist()
        setups.append((setup["edited"], setup["scored"]))
        assert setup["left_out"]["rare"].startswith("30 images with it and 970 without, and one half has fewer than 20")
        assert (setup["num_fitted"], setup["num_scoring"], len(setup["image_numbers"])) == (500, 500, 4)
        assert arrays["edits_probe"].shape == arrays["edits_mean_difference"].shape == (2, 5, 3, 4, 4)
    assert setups == [(["unrelated", "blurred"], ["clear", "blurred", "exact", "unrelated"])] * 2


def test_scatter_of_single_images_is_no_leakage() -> None:
    class Noisy(Linear):
        """Encodes with noise that has no direction, each time another."""

        noise = torch.Generator().manual_seed(0)

        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = super().encode(x)
            return mean + torch.randn(mean.shape, generator=self.noise), log_var

    mean = gaussian(4000, np.eye(3))
    names, labels = tuple("abc"), (mean > 0).astype(np.uint8)
    result, _ = edit_attributes(Noisy(3), mean, labels, gaussian(400, np.eye(3), seed=1), names, num_images=256, batch_size=256)
    for edit in result["edits"].values():
        assert edit["probe"]["target"] == pytest.approx(GAP, rel=0.15)
        assert edit["probe"]["leakage"] < 0.15


def test_strips_show_the_edit_from_minus_one_to_one() -> None:
    mean, test = gaussian(2000, np.eye(3)), gaussian(30, np.eye(3), seed=1)
    model, names = Linear(3), ("a", "b", "c")
    result, arrays = edit_attributes(model, mean, (mean > 0).astype(np.uint8), test, names, num_images=4)
    row = test[result["edits_setup"]["image_numbers"][0]]
    unedited = (model.decode(torch.from_numpy(row[None])) * 255).round().byte().numpy()[0]
    for kind in ("probe", "mean_difference"):
        strips = arrays[f"edits_{kind}"].astype(int)
        np.testing.assert_array_equal(strips[:, 2], np.broadcast_to(unedited, (3, 3, 4, 4)))
        np.testing.assert_allclose(strips[:, 4] - strips[:, 2], strips[:, 2] - strips[:, 0], atol=2)  # linear: the same both ways
        latent = torch.from_numpy(strips[:, 4] - strips[:, 0]).float().flatten(1) / 255 / 0.05 @ model.basis  # from -1 to 1
        column = [names.index(name) for name in arrays["edits_names"]]
        np.testing.assert_allclose(latent.numpy()[range(3), column], 2 * GAP, rtol=0.05)


def test_too_few_of_everything_gives_a_reason() -> None:
    mean = gaussian(60, np.eye(3))
    analysis, arrays = edit_attributes(Linear(3), mean, (mean > 0).astype(np.uint8), mean, ("a", "b", "c"))
    assert (set(analysis), arrays) == ({"not_computed"}, {})
    assert analysis["not_computed"]["edits"].startswith("0 of 3 attributes have 20 images with and without them in each half of 60")
    one = np.stack([mean[:, 0] > 0, np.zeros(60)], axis=1).astype(np.uint8)
    analysis, _ = edit_attributes(Linear(3), mean, one, mean, ("a", "b"), least_images=5)
    assert analysis["not_computed"]["edits"].startswith("1 of 2 attributes")


def test_specificity_of_an_edit_that_fails_is_0() -> None:
    assert scores(3.0, 1.0)["specificity"] == 0.75
    assert scores(-1.0, 0.5)["specificity"] == scores(0.0, 0.0)["specificity"] == 0


def test_edit_attributes_says_what_is_wrong() -> None:
    mean = gaussian(60, np.eye(3))
    labels = (mean > 0).astype(np.uint8)
    with pytest.raises(InputError, match=r"^train_attributes must be 60 images x 2 names of attributes"):
        edit_attributes(Linear(3), mean, labels, mean, ("a", "b"))
    with pytest.raises(InputError, match=r"^train_attributes must be 0 or 1\."):
        edit_attributes(Linear(3), mean, labels.astype(int) * 2 - 1, mean, ("a", "b", "c"))
    with pytest.raises(InputError, match=r"^test_mean must be of 3 dimensions, as train_mean"):
        edit_attributes(Linear(3), mean, labels, mean[:, :2], ("a", "b", "c"))
    with pytest.raises(InputError, match=r"^test_mean must be posterior means of images that differ"):
        edit_attributes(Linear(3), mean, labels, mean[:1], ("a", "b", "c"), least_images=5)


@pytest.mark.parametrize("latent_dim", [32, 8])
def test_a_real_vae_end_to_end_in_good_time(latent_dim: int) -> None:
    model = build(preset("small").replace(latent_dim=latent_dim), seed=0)
    random = np.random.default_rng(0)
    mean = random.standard_normal((600, latent_dim)).astype(np.float32)
    attributes = (mean[:, :8] + 0.5 * random.standard_normal((600, 8)) > 0).astype(np.uint8)
    names = tuple(f"attribute {n}" for n in range(8))
    start = time.thread_time()
    result, arrays = traverse(model, mean, random.random(latent_dim))
    edits, strips = edit_attributes(model, mean[:450], attributes[:450], mean[450:], names)
    seconds = time.thread_time() - start
    assert [strip.shape for strip in (arrays["traversal"], arrays["traversal_paper"])] == [(8, 9, 3, 48, 48), (1, 5, 3, 48, 48)]
    assert len(result["dims"]) == 8 and result["averaged"] and 0 < result["smoothness"] <= 1 and result["path_length_mean"] > 0
    assert strips["edits_probe"].shape == (6, 5, 3, 48, 48) and strips["edits_probe"].dtype == np.uint8
    assert all(np.isfinite([*edit[kind].values()]).all() for edit in edits["edits"].values() for kind in edit)
    again, _ = edit_attributes(model, mean[:450], attributes[:450], mean[450:], names)
    assert again == edits
    assert seconds < 15, seconds  # about 2 s of one core
