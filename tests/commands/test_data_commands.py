"""Commands that read data: roots that are no folder are refused, and a space's own number of images is honoured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.data import Dataset, load_dataset
from ablation.data.base import FORMER_NOTE
from ablation.design.space import load_defaults, load_space
from blocks.errors import InputError
from studies.engine.config import StudyConfig, reconcile_config
from studies.grid.command import ALLOWED_DEFAULTS, NUM_FACES, data_of, prepare, space_file
from studies.options import GridOptions
from studies.paper.folder import PaperFolder
from studies.paper.steps import as_begun
from studies.run import main, parse
from tests.tiny_grid import BASE

NUM = 20
SPACE = BASE + '[factors]\nhead = ["flatten", "pooled"]\n'


@pytest.fixture
def place(place: Path) -> Path:
    for number in range(NUM):
        path = place / "data" / "img_align_celeba" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (place / "plain.toml").write_text(SPACE)
    (place / "counted.toml").write_text(SPACE + "[defaults]\nimages = 12\n")
    (place / "file").write_text("")
    return place


@pytest.mark.parametrize("root", ["", " ", "\t ", "file"])
@pytest.mark.parametrize(
    "command",
    [
        *("grid --space plain.toml --data celeba", "grid --space plain.toml --data folder", "grid --space plain.toml"),
        *("paper --data celeba", "paper", "reference", "reference table1"),
    ],
)
def test_a_root_that_is_no_folder_is_refused(command, root, place, monkeypatch, capsys) -> None:
    """Also where the current folder would serve, which a variable that is not set must not mean."""
    monkeypatch.chdir(place / "data")
    (place / "data" / "plain.toml").write_text(SPACE)
    (place / "data" / "file").write_text("")
    monkeypatch.setattr("studies.reference._make", lambda *a: pytest.fail("begun"))
    out = [] if "reference" in command else ["--out", "s"]
    assert main([*command.split(), "--device", "cpu", "--data-root", root, *out]) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert message.startswith("error: ")
    assert "--data-root" in message


def options(*more: str) -> GridOptions:
    return parse(["grid", "--device", "cpu", "--out", "s", *more])


FILES = ("--data", "celeba", "--data-root", "data")


@pytest.mark.parametrize(
    ("space", "more", "expected"),
    [
        ("counted.toml", FILES, 12),
        ("counted.toml", (*FILES, "--images", "15"), 15),
        ("counted.toml", (), 12),
        ("plain.toml", FILES, None),
        ("plain.toml", (), NUM_FACES),
        # the suite's own spaces have numbers for rendered faces: studies of files have always taken all
        ("small", FILES, None),
        (None, FILES, None),
        ("small", (), 1000),
    ],
)
def test_images_of_a_space_are_honoured(space, more, expected, place) -> None:
    given = options(*(["--space", space] if space else []), *more)
    path = space_file(space, None)
    assert data_of(given, load_defaults(path, ALLOWED_DEFAULTS), load_space(path))["limit"] == expected


def test_images_of_a_space_reach_the_data(place) -> None:
    config, _, dataset = prepare(options("--space", "counted.toml", *FILES))
    assert len(dataset) == config.data["limit"] == 12
    (place / "counted.toml").write_text(SPACE + '[defaults]\nimages = "many"\n')
    with pytest.raises(InputError, match=r"--images.*whole number.*'many'"):
        prepare(options("--space", "counted.toml", *FILES))


def test_a_study_that_took_all_files_before_says_how_to_go_on(place) -> None:
    config, _, _ = prepare(options("--space", "counted.toml", *FILES))
    before = StudyConfig.from_dict({**config.to_dict(), "data": {**config.data, "limit": None}})
    with pytest.raises(InputError, match=r"data\.limit.*take `images` out there to go on with all files\.$"):
        reconcile_config(before, config, "s")


def facts(folder: Path, fingerprint: str, **more: str) -> PaperFolder:
    """A folder of `paper` that was begun with data of that fingerprint."""
    folder.mkdir(exist_ok=True)
    begun = PaperFolder(folder)
    begun.facts.write_text(json.dumps({"provenance": {"data": {"fingerprint": fingerprint}}, **more}))
    return begun


def test_the_paper_goes_on_with_data_of_an_earlier_version_and_refuses_others(place) -> None:
    data: Dataset = load_dataset("celeba", root="data", image_size=16)
    assert as_begun(data, PaperFolder(place / "new")) is data
    assert as_begun(data, facts(place / "s", data.fingerprint)) is data
    assert as_begun(data, facts(place / "s", data.former[0])).notes[-1] == FORMER_NOTE
    # once gone on with, the content counts, and the note stays
    assert as_begun(data, facts(place / "s", data.former[0], data_fingerprint=data.fingerprint)).notes[-1] == FORMER_NOTE
    for changed in (facts(place / "s", data.former[0], data_fingerprint="0"), facts(place / "s", "0")):
        with pytest.raises(InputError, match="those that the study began with") as error:
            as_begun(data, changed)
        assert "\n" not in str(error.value)
