"""Exports: the folder stands alone, loads again, agrees with eager PyTorch, and nothing that is there is lost."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from torch import Tensor, nn

import ablation
from ablation.design.compose import VAE, build
from ablation.design.spec import preset
from ablation.export import folder as folder_module
from ablation.export import formats, write
from ablation.export.folder import CONFIG, load, replacing
from ablation.export.formats import FORMATS, Onnx, TorchExport
from ablation.export.write import Origin, Written, export_network
from blocks.errors import InputError
from tests.faster.test_optimise import network
from tests.tiny_grid import SHORT

SPEC = SHORT.replace(image_size=32, latent_dim=8)
ORIGIN = Origin(
    name="small", trained=False, source="`small`, seed 0", costs=[("parameters", "1")], command="export small --to there"
)
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BUDGET = {"budget_s": 0.5, "batches": (1,)}


def exported(model: VAE, folder: Path, **options: object) -> dict[str, Written]:
    return export_network(model, folder, ORIGIN, images=IMAGES, **{**BUDGET, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> VAE:
    return network(SPEC).eval()


@pytest.fixture(scope="module")
def folder(model: VAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exports") / "small"
    written = exported(model, made, calibration=IMAGES, sample=False)
    assert {title: each.reason for title, each in written.items()} == dict.fromkeys(written, "")
    return made


def test_the_folder_holds_every_format_of_every_graph(folder: Path) -> None:
    endings = (".pt2", ".onnx", ".xml", ".bin", "_int8.xml", "_int8.bin")
    wanted = {f"{graph}{ending}" for graph in ("model", "encoder", "decoder") for ending in endings}
    assert {path.name for path in folder.iterdir()} == wanted | {
        "model.safetensors", "config.json", "preprocess.json", "parity.json", "README.md"
    }  # fmt: skip
    assert list(folder.parent.iterdir()) == [folder]


def test_it_is_loaded_with_the_weights_as_trained(folder: Path, model: VAE) -> None:
    loaded = ablation.load(folder)
    assert loaded.spec == SPEC
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert load(str(folder)).decode(torch.zeros(1, 8)).shape == (1, 3, 32, 32)


def test_errors_are_stated_for_images_and_random_weights_at_three_batches(folder: Path) -> None:
    parity = json.loads((folder / "parity.json").read_text())
    assert parity["batches"] == [1, 3, 32]
    for title, each in parity["formats"].items():
        assert list(each["errors"]) == (["images"] if "int8" in title else ["random weights", "images"])
        graphs = [graph for made in each["errors"].values() for graph in made.values()]
        errors = [value for graph in graphs for value in graph.values()]
        assert len(errors) == len(each["errors"]) * 3 * 3
        assert each["largest_error"] == max(errors)
        assert max(errors) < (1 if "int8" in title else 1e-5)
    int8 = parity["formats"]["OpenVINO, int8"]["quality"]
    assert {"ssim", "psnr", "l1", "mse"} <= set(int8)
    assert all(row["low"] <= row["difference"] <= row["high"] for row in int8.values())
    assert parity["provenance"]["hardware"]


def alone(code: str, folder: Path, *without: str) -> None:
    """Runs code in a process in which these modules can't be imported; `images` and `np` are there."""
    head = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    head += "import numpy as np\nimages = np.load('images.npy')\n"
    done = subprocess.run([sys.executable, "-I", "-c", head + code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_the_card_loads_it_without_this_package(runtime: str, folder: Path, model: VAE) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    [code] = [text for text in snippets if text.startswith(f"import {runtime}")]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    np.save(folder / "images.npy", IMAGES.numpy())
    without = ["ablation", "blocks", "studies", *(() if runtime == "torch" else ("torch",))]
    before = (
        "import torch\nimages = torch.from_numpy(images)\n" if runtime == "torch" else "sys.modules['openvino_telemetry'] = None\n"
    )
    try:
        alone(f"{before}{code}\nnp.savez('made.npz', image=np.asarray(reconstruction), mean=np.asarray(mean))", folder, *without)
        made = np.load(folder / "made.npz")
        with torch.inference_mode():
            mean, _ = model.encode(IMAGES)
            expected = model.decode(mean)
        np.testing.assert_allclose(made["image"], expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(made["mean"], mean.numpy(), atol=1e-5)
    finally:
        for name in ("images.npy", "made.npz"):
            (folder / name).unlink(missing_ok=True)


def test_the_card_says_what_it_is(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: vae-ablation\n")
    assert "**It was not trained**" in text
    for words in (
        "| ONNX | `model.onnx`, `encoder.onnx`, `decoder.onnx` |",
        "What OpenVINO, int8 loses",
        "export small --to there",
    ):
        assert words in text
    assert "None" not in text.replace("session.run(None,", "")


def test_noise_may_be_an_input(model: VAE, tmp_path: Path) -> None:
    exported(model, tmp_path / "made", sample=True, plain=True)
    np.save(tmp_path / "made" / "images.npy", IMAGES.numpy())
    code = (
        "import onnxruntime\nsession = onnxruntime.InferenceSession('model.onnx')\n"
        "assert [value.name for value in session.get_inputs()] == ['image', 'noise']\n"
        "noise = np.ones((6, 8), np.float32)\n"
        "image, mean, log_var = session.run(None, {'image': images, 'noise': noise})\nnp.save('made.npy', image)"
    )
    alone(code, tmp_path / "made", "torch", "ablation")
    with torch.inference_mode():
        mean, log_var = model.encode(IMAGES)
        expected = model.decode(mean + torch.exp(0.5 * log_var))
    np.testing.assert_allclose(np.load(tmp_path / "made" / "made.npy"), expected.numpy(), atol=1e-5)


def test_a_mask_decoder_is_a_graph_of_its_own(tmp_path: Path) -> None:
    made = network(preset("small_toledo_mask"))
    size = made.spec.image_size
    images = torch.rand(3, 3, size, size)
    written = export_network(made, tmp_path / "made", ORIGIN, images=images, **BUDGET)  # type: ignore[arg-type]
    assert all("mask" in " ".join(each.files) for each in written.values())


class Inverse(nn.Module):
    """An operation that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erfinv(0.5 * x)


class Branching(nn.Module):
    """Depends on the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def odd(piece: nn.Module) -> VAE:
    made = network(SPEC)
    made.output = nn.Sequential(made.output, piece)
    return made.eval()


def test_what_a_format_cannot_express_is_named_and_the_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "randomised", lambda spec: odd(Inverse()))
    written = exported(odd(Inverse()), tmp_path / "made")
    assert written["torch.export"].reason == ""
    for title in ("ONNX", "OpenVINO"):
        assert "ONNX cannot express the reconstruction: it has no operation prims.erf_inv" in written[title].reason
        assert written[title].files == []
    left = {path.suffix for path in (tmp_path / "made").iterdir()}
    assert left == {".pt2", ".safetensors", ".json", ".md"}
    assert "| ONNX | not written: GraphError: ONNX cannot express" in (tmp_path / "made" / "README.md").read_text()


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (x - x)

    monkeypatch.setattr(write, "FORMATS", (TorchExport(),))
    written = exported(odd(Endless()), tmp_path / "made")
    assert "not finite" in written["torch.export"].reason
    json.loads((tmp_path / "made" / "parity.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_network_that_no_format_expresses_leaves_weights_and_card(tmp_path: Path) -> None:
    written = exported(odd(Branching()), tmp_path / "made")
    assert all("it branches on values of its input" in each.reason for each in written.values())
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "model.safetensors", "config.json", "preprocess.json", "parity.json", "README.md"
    }  # fmt: skip


def test_beyond_its_tolerance_a_format_is_not_written(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Onnx, "tolerance", 0.0)
    monkeypatch.setattr(write, "FORMATS", (TorchExport(), Onnx()))
    written = exported(model, tmp_path / "made")
    assert "is over the tolerance 0" in written["ONNX"].reason
    assert not list((tmp_path / "made").glob("*.onnx"))
    assert (tmp_path / "made" / "model.pt2").is_file()


def test_a_package_that_is_missing_is_a_reason(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.OpenVinoFiles, "packages", ("no_such_package",))
    written = exported(model, tmp_path / "made")
    assert written["OpenVINO"].reason == "not installed: pip install no_such_package"
    assert written["ONNX"].reason == ""


def test_an_export_is_replaced_and_anything_else_is_refused(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "FORMATS", (TorchExport(),))
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("all of it")
    for place in (other, other / "thesis.txt"):
        with pytest.raises(InputError, match="--to must be a"):
            exported(model, place)
    assert (other / "thesis.txt").read_text() == "all of it"
    made = tmp_path / "made"
    exported(model, made)
    (made / "encoder_int8.xml").touch()  # of an earlier export
    (made / ".git").mkdir()  # of its user
    exported(model, made)
    assert not (made / "encoder_int8.xml").exists()
    assert (made / ".git").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "mine"]


def test_links_and_the_current_folder_may_be_exported_to(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "FORMATS", (TorchExport(),))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    for place in (Path("."), tmp_path / "link", Path(".")):
        exported(model, place)
        assert load(tmp_path / "real").spec == SPEC
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
    with pytest.raises(InputError, match=r"--to must be a folder\. Got .* config\.json is a file"):
        exported(model, tmp_path / "real" / "config.json" / "x")


def test_what_fails_on_the_way_leaves_the_export_that_is_there(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "FORMATS", (TorchExport(),))
    made = tmp_path / "made"
    exported(model, made)
    before = {path.name: path.read_bytes() for path in made.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(made))

    for interrupted in (full, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)):
        monkeypatch.setattr(write, "write_json", interrupted)
        with pytest.raises((OSError, KeyboardInterrupt)):
            exported(model, made)
        assert {path.name: path.read_bytes() for path in made.iterdir()} == before
        assert list(tmp_path.iterdir()) == [made]


def test_what_cannot_be_loaded_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    cases = {
        "names vae-ablation": {"model_type": "bert"},
        "of format 2 at most. Got 'format 3' instead. A later version": {**config, "format": 3},
        "must be one of": {**config, "spec": {**config["spec"], "encoder_conv": "mine"}},
        "Import first what registers its pieces: my_blocks": {
            **config, "plugins": ["my_blocks"], "spec": {**config["spec"], "encoder_conv": "mine"}
        },
        "must hold a spec": {**config, "spec": None},
        "must hold the weights of this network": config,
    }  # fmt: skip
    for words, values in cases.items():
        (tmp_path / CONFIG).write_text(json.dumps(values))
        with pytest.raises(InputError, match=re.escape(words)) as refused:
            load(tmp_path)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="`export` writes one"):
        load(tmp_path / "nowhere")


def test_shared_modules_and_pieces_in_another_form_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network(SPEC.replace(conv="reparameterised")).eval()
    shared = nn.ELU()
    made.stem = nn.Sequential(made.stem, shared, shared)
    monkeypatch.setattr(write, "randomised", lambda spec: made)
    written = exported(made, tmp_path / "made")
    assert {each.reason for each in written.values()} == {""}
    assert all((each.largest_error or 0) < 1e-5 for each in written.values())


def test_the_folder_takes_its_place_at_once(tmp_path: Path) -> None:
    made = tmp_path / "deep" / "made"
    with replacing(made) as partial:
        (partial / CONFIG).touch(mode=0o600)
        assert [path.name for path in made.iterdir()] == [partial.name]
    assert [path.name for path in made.iterdir()] == [CONFIG]
    assert (made / CONFIG).stat().st_mode & 0o044


def test_formats_have_one_title_and_one_ending_each() -> None:
    assert len({kind.title for kind in FORMATS}) == len({kind.ending for kind in FORMATS}) == len(FORMATS)
    assert isinstance(build(SPEC, seed=0), VAE)


def test_a_disk_without_room_is_one_line_before_any_work(model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10_000}))
    with pytest.raises(InputError, match=r"--to must be on a disk with room for [\d.]+ MB\. Got .* instead\. It has 0\.0 MB\."):
        exported(model, tmp_path / "deep" / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_is_no_fault_of_a_format(
    model: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage

    def full(*_: object, **__: object) -> None:
        monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 0}))
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(TorchExport, "write", full)
    with pytest.raises(InputError, match=r"It has 0\.0 MB"):
        exported(model, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []

    def broken(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(folder_module.shutil, "disk_usage", usage)
    monkeypatch.setattr(folder_module.safetensors.torch, "save_model", broken)
    with pytest.raises(InputError, match="No space left on device"):
        exported(model, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []
