"""What is sure to fail in training is told before anything is trained; what can be trained is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ablation.data import split_indices
from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec, preset
from ablation.train.train import train
from ablation.train.trainable import check_trainable
from blocks.errors import InputError
from studies.run import main
from tests.small_data import random_dataset

# 16 px in four stages: the decoder begins at 1 x 1, where one image is one value per channel
TIGHT = preset("small").replace(image_size=16)
ROOMY = preset("small").replace(image_size=32)


def fails_in_torch(spec: ModelSpec, batch: int) -> bool:
    """Whether a step on so many images raises, tried for real."""
    try:
        build(spec, seed=0).train()(torch.rand(batch, 3, spec.image_size, spec.image_size))
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    "spec",
    [TIGHT, ROOMY, TIGHT.replace(norm="group"), TIGHT.replace(norm="none"), *map(preset, ("small_modified", "small_toledo_mask"))],
)
@pytest.mark.parametrize(("batch_size", "num_images"), [(1, None), (1, 40), (9, 40), (27, 40), (32, 40), (32, 47), (32, 48)])
def test_refused_exactly_where_torch_refuses(spec, batch_size, num_images) -> None:
    num_train = num_images and len(split_indices(num_images).train)
    single = batch_size == 1 or (num_train is not None and num_train % batch_size == 1)
    protocol = Protocol(batch_size=batch_size)
    if single and fails_in_torch(spec, 1):
        with pytest.raises(InputError, match=r"^batch_size \(--batch-size\) must be such that .* of net sees") as error:
            check_trainable({"net": spec}, protocol, num_images)
        other = int(str(error.value).split("Take ")[1].split(",")[0])
        check_trainable({"net": spec}, Protocol(batch_size=other), num_images)
    else:
        check_trainable({"net": spec}, protocol, num_images)


def test_the_tight_network_is_one_that_fails() -> None:
    assert fails_in_torch(TIGHT, 1)
    assert not fails_in_torch(TIGHT, 2)
    assert not fails_in_torch(ROOMY, 1)


def test_training_refuses_before_its_first_step_and_leaves_the_model_alone(tmp_path: Path) -> None:
    data, split = random_dataset(40, 16), split_indices(40)
    model = build(TIGHT, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"Got '9, with 28 training images' instead\. Take 10, or another number of images\."):
        train(model, data, split, Protocol(batch_size=9, epochs=1), seed=0, checkpoint_dir=tmp_path / "c")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not (tmp_path / "c").exists()
    assert train(model, data, split, Protocol(batch_size=10, epochs=1), seed=0).num_steps == 3


def test_a_last_batch_of_one_is_trained_where_that_is_possible() -> None:
    """As before: studies that have one keep their batches."""
    result = train(build(ROOMY, seed=0), random_dataset(40, 32), split_indices(40), Protocol(batch_size=9, epochs=1), seed=0)
    assert result.num_steps == 4


@pytest.mark.parametrize(("size", "ok"), [(8, False), (10, False), (11, True)])
def test_images_hold_the_ssim_window(size, ok) -> None:
    spec = ModelSpec(architecture="toledo", image_size=size, encoder_widths=(4, 4, 4), decoder_widths=(4, 4, 4), latent_dim=4)
    for window in (9, 11):  # the reported quality has a window of 11 whatever the loss has
        if ok:
            check_trainable({"net": spec}, Protocol(ssim_size=window), 40)
        else:
            with pytest.raises(InputError, match=rf"image_size \(--image-size\) must be at least 11, the SSIM window\. Got {size}"):
                check_trainable({"net": spec}, Protocol(ssim_size=window), 40)


SPACE = '[base]\npreset = "small"\nimage_size = {}\n{}\n[factors]\nactivation = ["elu", "relu"]\n'
SHALLOW = "encoder_widths = [8]\ndecoder_widths = [8]\n"


@pytest.mark.parametrize(
    ("space", "more", "words"),
    [
        (SPACE.format(8, SHALLOW), [], "image_size (--image-size) must be at least 11"),
        (SPACE.format(16, ""), ["--batch-size", "1"], "batch_size (--batch-size) must be"),
        (SPACE.format(16, ""), ["--batch-size", "9", "--images", "40"], "Got '9, with 28 training images'"),
    ],
)
def test_the_grid_refuses_before_it_trains(space, more, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("studies.grid.command.open_run", lambda *a: pytest.fail("begun"))
    Path("space.toml").write_text(space)
    assert main(["grid", "--space", "space.toml", "--device", "cpu", "--epochs", "1", "--out", "s", *more]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--batch-size", "1"], "batch_size (--batch-size) must be"), (["--batch-size", "9", "--images", "40"], "Got '9, with 28")],
)
def test_the_paper_refuses_before_it_trains(more, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("studies.paper.command.run_group", lambda *a: pytest.fail("begun"))
    size = ["--image-size", "16", "--epochs", "1", "--seeds", "1", "--workers", "1", "--groups", "models"]
    assert main(["paper", *size, "--device", "cpu", "--out", "s", *more]) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("s/plan.json").exists()
