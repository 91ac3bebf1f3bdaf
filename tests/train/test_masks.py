"""Losses and training with face masks: by hand, bit for bit after a stop, and as the plain loop computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ablation import build
from ablation.data.base import Dataset, Split
from ablation.data.batches import Images
from ablation.design.protocol import Protocol
from ablation.faster.optimise import example, prepared
from ablation.measure.quality.evaluate import evaluate, evaluate_images
from ablation.measure.quality.losses import dice, kl_per_dim, loss_parts, mask_loss, ssim
from ablation.train import loop as loop_module
from ablation.train.checkpoint import CHECKPOINT
from ablation.train.learner import Learner, clip_each, columns
from ablation.train.train import TrainResult, train
from blocks.errors import InputError
from studies.bench.naive import naive_train_epoch
from studies.paper.hypotheses import HYPOTHESES, MASKED
from tests.builders import TINY_MASK as TINY
from tests.builders import randomised, stop_before, without_clocks

MASK_PROTOCOL = Protocol(epochs=3, batch_size=4, **{**HYPOTHESES["L2 + SSIM, mask"], "clip_norm": 0.0}, learning_rate=3e-3)


# --- losses


def half_masks() -> Tensor:
    mask = torch.zeros(2, 16, 16)
    mask[0, :, :8], mask[1, 2:6, 2:6] = 1, 1
    return mask


def test_dice_and_cross_entropy_by_hand() -> None:
    mask = half_masks()
    predicted = torch.full((2, 16, 16), 0.5)
    # (2 * 0.5 * 128 + 1) / (256 / 4 + 128 + 1) and (2 * 0.5 * 16 + 1) / (256 / 4 + 16 + 1)
    assert dice(predicted, mask).tolist() == pytest.approx([129 / 193, 17 / 81])
    assert dice(mask, mask).tolist() == [1, 1]
    assert dice(1 - mask, mask).tolist() == pytest.approx([1 / 257, 1 / 257])
    zero = torch.zeros(2, 1, 16, 16)  # log-odds of 1/2
    assert mask_loss(zero, mask).item() == pytest.approx(np.log(2) + 1 - (129 / 193 + 17 / 81) / 2)
    # log-odds of log 3 are a probability of 3/4
    share = (128 + 16) / 512
    expected = -share * np.log(0.75) - (1 - share) * np.log(0.25)
    overlap = [(2 * 0.75 * n + 1) / (256 * 0.5625 + n + 1) for n in (128, 16)]
    assert mask_loss(zero + np.log(3), mask).item() == pytest.approx(expected + 1 - sum(overlap) / 2)


def test_no_gradient_reaches_the_image_outside_of_the_face() -> None:
    mask, generator = half_masks(), torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 16, 16, generator=generator)
    y = torch.rand(2, 3, 16, 16, generator=generator).requires_grad_()
    logits = torch.randn(2, 1, 16, 16, generator=generator).requires_grad_()
    protocol = Protocol(l2_weight=100.0, mask_weight=1.0, ssim_window="gaussian", ssim_size=9)
    parts = loss_parts(y, x, torch.zeros(2, 4), torch.zeros(2, 4), protocol, mask, logits)
    parts.total.backward()
    outside = (mask == 0)[:, None].expand_as(y)
    pasted = torch.where(mask[:, None] == 1, y, x)
    assert torch.equal(pasted[outside], x[outside])
    assert torch.equal(pasted[~outside], y[~outside])
    assert torch.equal(y.grad[outside], torch.zeros(int(outside.sum())))
    assert (y.grad[~outside] != 0).float().mean() > 0.99
    assert (logits.grad != 0).all()


@pytest.mark.parametrize("mask_weight", [0.0, 0.7])
def test_the_whole_loss_by_hand(mask_weight: float) -> None:
    mask = half_masks()
    x, y = torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.25)
    mean, log_var = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
    weights = {"ssim_weight": 0.0, "l1_weight": 4.0, "l2_weight": 100.0, "kl_weight": 0.5, "kl_mean": True}
    protocol = Protocol(**weights, mask_weight=mask_weight)
    given = (mask, torch.zeros(2, 1, 16, 16)) if mask_weight else (None, None)
    parts = loss_parts(y, x, mean, log_var, protocol, *given)
    share = (128 + 16) / 512 if mask_weight else 1.0  # of pixels that differ
    kl = (0.5 * 1 + 0.5 * 4) / 2 / 2  # mean over images and dimensions
    masks = np.log(2) + 1 - (129 / 193 + 17 / 81) / 2
    expected = [4 * 0.25 * share + 100 * 0.0625 * share + 0.5 * kl + mask_weight * masks]
    pasted = torch.where(mask[:, None] == 1, y, x) if mask_weight else y
    expected += [ssim(x, pasted).item(), 0.25 * share, kl, 0.0625 * share, *([masks] if mask_weight else [])]
    assert [value.item() for value in parts] == pytest.approx(expected, rel=1e-5)
    assert parts.kl.item() == pytest.approx(kl_per_dim(mean, log_var).mean().item())


def test_each_gradient_is_clipped_by_itself() -> None:
    gradients = [torch.tensor([3.0, 4.0]), torch.tensor([[0.3, -0.4]]), torch.zeros(3)]
    clip_each(gradients, 0.5)
    torch.testing.assert_close(gradients, [torch.tensor([0.3, 0.4]), torch.tensor([[0.3, -0.4]]), torch.zeros(3)])


def test_a_step_clips_each_parameter_and_logs_the_norm_before() -> None:
    protocol = Protocol(**HYPOTHESES["L2, mask"])
    x, mask = torch.rand(4, 3, 19, 19), (torch.rand(4, 19, 19) > 0.5).float()
    seen: dict[str, list[Tensor]] = {}
    for name, limit in (("clipped", protocol.clip_norm), ("free", 0.0)):
        learner = Learner(build(TINY, seed=0), Protocol(**{**protocol.to_dict(), "clip_norm": limit}), torch.device("cpu"))
        kept: list[Tensor] = []
        learner.optimizer.register_step_pre_hook(
            lambda opt, *_, kept=kept: kept.extend(p.grad.clone() for group in opt.param_groups for p in group["params"])
        )
        torch.manual_seed(0)
        values = dict(zip(columns(protocol), learner.step(x, mask).tolist(), strict=True))
        seen[name] = [*kept, torch.tensor(values["grad_norm"])]
    *clipped, norm = seen["clipped"]
    *free, same = seen["free"]
    assert norm == same == pytest.approx(sum(g.double().square().sum().item() for g in free) ** 0.5, rel=1e-5)
    lengths = [g.norm().item() for g in free]
    assert min(lengths) < 1e-3 < max(lengths)  # some are clipped, and some are not
    for g, whole, length in zip(clipped, free, lengths, strict=True):
        torch.testing.assert_close(g, whole * min(1, 1e-3 / length))


# --- training


def faces(num: int = 26, side: int = 19) -> Dataset:
    """Discs of one colour on waves, and their masks."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side]
    waves = 0.5 + 0.5 * np.sin(random.uniform(0.3, 1.5, (num, 3, 1, 1)) * x + random.uniform(0, 6, (num, 3, 1, 1)) * (y + 1))
    centres = random.uniform(0.35 * side, 0.65 * side, (2, num, 1, 1))
    masks = (x - centres[0]) ** 2 + (y - centres[1]) ** 2 < (0.3 * side) ** 2
    colours = random.uniform(0.2, 0.8, (num, 3, 1, 1)) + 0.1 * np.cos(x / 3)
    images = np.where(masks[:, None], colours, waves)
    return Dataset(
        name="folder", images=(255 * images.clip(0, 1)).astype(np.uint8), names=tuple(map(str, range(num))), fingerprint="0" * 16,
        masks=masks.astype(np.uint8),
    )  # fmt: skip


SPLIT = Split(train=np.arange(3, 17), validation=np.arange(17, 22), test=np.arange(22, 26))  # 14 images: batches of 4, 4, 4, 2


def fit(model: nn.Module | None = None, protocol: Protocol = MASK_PROTOCOL, **options: Any) -> TrainResult:
    data = options.pop("dataset", None) or faces()
    return train(build(TINY, seed=0) if model is None else model, data, SPLIT, protocol, seed=0, **options)


def test_training_with_masks_learns_and_its_log_adds_up() -> None:
    model = build(TINY, seed=0)
    protocol = Protocol(**{**MASK_PROTOCOL.to_dict(), "epochs": 18, "patience": 18})
    losses: list[float] = []
    result = fit(model, protocol, step_losses=losses)
    first, last = result.epochs[0], result.epochs[-1]
    assert last["val_loss"] < 0.75 * first["val_loss"]
    assert last["val_mask"] < 0.6 * first["val_mask"]
    for kind in ("train", "val"):
        parts = {name: first[f"{kind}_{name}"] for name in ("loss", "ssim", "l2", "kl", "mask")}
        total = 1 - parts["ssim"] + 100 * parts["l2"] + 1e-3 * parts["kl"] + parts["mask"]
        assert parts["loss"] == pytest.approx(total, rel=1e-5)
    assert first["train_loss"] == pytest.approx((4 * sum(losses[:3]) + 2 * losses[3]) / 14)
    assert sum(first["kl_per_dim"]) / 4 == pytest.approx(first["val_kl"], rel=1e-5)
    quality = evaluate(model, faces(), SPLIT.validation, protocol=protocol, batch_size=4)
    best = result.epochs[result.best_epoch - 1]
    assert quality["replica"]["mask"] == pytest.approx(best["val_mask"], rel=0.2)
    assert quality["replica"]["ssim_size"] == 9
    # the predicted mask finds the face on images that were not trained on
    x = torch.from_numpy(faces().images[SPLIT.test]).float() / 255
    with torch.no_grad():
        predicted = model.eval().decode_mask(model.encode(x)[0])[:, 0]
    assert dice(predicted, torch.from_numpy(faces().masks[SPLIT.test]).float()).min() > 0.6


def test_reporting_is_of_the_raw_image() -> None:
    model = build(TINY, seed=0).eval()
    x = torch.from_numpy(faces().images[SPLIT.test]).float() / 255
    with torch.no_grad():
        expected = (model.decode(model.encode(x)[0]) - x).abs().mean((1, 2, 3))
    np.testing.assert_allclose(evaluate_images(model, faces(), SPLIT.test)["l1"], expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("steps", [(1, 1), (3, 4), (5, 7)])
def test_stopped_and_continued_run_with_masks_is_the_same_bit_for_bit(tmp_path: Path, steps: tuple[int, int]) -> None:
    expected = fit(expected_model := build(TINY, seed=0))
    for step in steps:
        assert fit(checkpoint_dir=tmp_path, should_stop=stop_before(step)).interrupted
    result = fit(model := build(TINY, seed=9), checkpoint_dir=tmp_path)
    assert without_clocks(result) == without_clocks(expected)
    assert result.resumed_from_epoch == (sum(steps) - 2) // 4
    for (name, value), other in zip(model.state_dict().items(), expected_model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"precision": "float16"}, {"memory_format": "contiguous"}])
def test_options_change_speed_and_not_the_training(options: dict[str, Any]) -> None:
    expected, result = fit(), fit(protocol=Protocol(**{**MASK_PROTOCOL.to_dict(), **options}))
    for ours, theirs in zip(result.epochs, expected.epochs, strict=True):
        for name in ("train_loss", "val_loss", "train_mask"):
            assert ours[name] == pytest.approx(theirs[name], rel=3e-2)


@pytest.mark.parametrize("name", [name for name in HYPOTHESES if not name.endswith(MASKED)])
def test_losses_equal_those_of_the_plain_loop(tmp_path: Path, name: str) -> None:
    data, paths = faces(), []
    for number, image in enumerate(data.images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    spec, protocol, losses = TINY.replace(mask_width=0), Protocol(epochs=1, batch_size=4, **HYPOTHESES[name]), list[float]()
    train(build(spec, seed=1), data, SPLIT, protocol, seed=5, step_losses=losses)
    plain = naive_train_epoch(build(spec, seed=1), paths, SPLIT.train, protocol, 5, "cpu", image_size=19)
    np.testing.assert_allclose(losses, plain, rtol=2e-4)
    with pytest.raises(InputError, match="mask_weight must be 0 for the plain loop"):
        naive_train_epoch(build(TINY), paths, SPLIT.train, MASK_PROTOCOL, 5, "cpu", image_size=19)


def test_masks_travel_with_their_images() -> None:
    data = faces(6)
    images = Images(data, np.array([5, 1, 2]), torch.device("cpu"), masks=True, channels_last=True)
    (x, mask), (y, last) = images.pairs(2, torch.tensor([2, 0, 1]))
    np.testing.assert_array_equal(mask.numpy(), data.masks[[2, 5]])
    np.testing.assert_array_equal(last.numpy(), data.masks[[1]])
    np.testing.assert_array_equal(x.numpy(), data.images[[2, 5]].astype(np.float32) / 255)
    assert (mask.dtype, y.shape) == (torch.float32, (1, 3, 19, 19))
    assert [m for _, m in Images(data, np.arange(6), torch.device("cpu")).pairs(4)] == [None, None]


def test_what_is_missing_is_told_in_one_line() -> None:
    bare = Dataset(name="celeba", images=faces().images, names=faces().names, fingerprint="0" * 16)
    no_masks = r"^The data set must be one with face masks, since mask_weight is not 0\. Got 'celeba' instead\. Use rendered faces"
    no_decoder = r"^mask_weight must be 0 for a network without a mask decoder\. Got 1\.0 instead\. Take .* `toledo_mask`"
    plain = build(TINY.replace(mask_width=0), seed=0)
    for message, model, data in ((no_masks, build(TINY), bare), (no_decoder, plain, faces())):
        with pytest.raises(InputError, match=message):
            fit(model, dataset=data)
        with pytest.raises(InputError, match=message):
            evaluate(model, data, SPLIT.test, protocol=MASK_PROTOCOL)
    fast = prepared(randomised(build(TINY)), ["fold"], example(build(TINY), 1))
    with pytest.raises(InputError, match=no_decoder):
        evaluate(fast, faces(), SPLIT.test, protocol=MASK_PROTOCOL)


def test_a_mask_decoder_that_is_not_trained_is_said(tmp_path: Path) -> None:
    protocol = Protocol(epochs=2, batch_size=4, ssim_window="gaussian")
    model, fresh = build(TINY, seed=0), build(TINY, seed=0)
    assert fit(model, protocol, checkpoint_dir=tmp_path, should_stop=stop_before(6)).interrupted
    assert fit(model, protocol, checkpoint_dir=tmp_path).notes == (loop_module.UNTRAINED_MASKS,)
    assert all(map(torch.equal, model.mask_decoder.parameters(), fresh.mask_decoder.parameters()))
    assert not torch.equal(next(model.parameters()), next(fresh.parameters()))
    assert fit(build(TINY.replace(mask_width=0), seed=0), protocol).notes == ()


OLD = (
    "epochs=10, batch_size=32, learning_rate=0.0001, patience=5, ssim_window=uniform, ssim_weight=1.0, l1_weight=0.5, "
    "kl_weight=0.001, split_seed=42, precision=float32, memory_format=auto, compile=False"
)


def test_identity_of_a_checkpoint_of_the_papers_protocol_is_as_it_was(tmp_path: Path) -> None:
    assert Protocol().in_words() == OLD
    assert Protocol(l2_weight=2.0, kl_mean=True).in_words() == OLD + ", l2_weight=2.0, kl_mean=True"
    assert columns(Protocol()) == ("loss", "ssim", "l1", "kl", "grad_norm")
    fit(build(TINY), Protocol(epochs=1), checkpoint_dir=tmp_path, should_stop=stop_before(2))
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert stored["identity"]["protocol"] == OLD.replace("epochs=10", "epochs=1")
    assert stored["history"].shape == (1, 5)
