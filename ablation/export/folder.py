"""The folder of an export: which files it has, how it is written whole or not at all, and how its network is loaded again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from ablation.design.callable_spec import CallableSpec
from ablation.design.compose import VAE, build
from ablation.design.network import spec_from_dict
from ablation.machine.hardware import describe_software
from ablation.machine.text import first_line
from blocks.errors import InputError, WriteError, must_be

WEIGHTS, CONFIG, PREPROCESS, PARITY, CARD = "model.safetensors", "config.json", "preprocess.json", "parity.json", "README.md"
MODEL_TYPE, FORMAT = "vae-ablation", 1
FORMAT_ANY = 2  # of a network that a callable makes
# all that an export may hold
FILES = {WEIGHTS, CONFIG, PREPROCESS, PARITY, CARD} | {
    f"{graph}{ending}" for graph in ("model", "encoder", "decoder", "mask")
    for ending in (".pt2", ".onnx", ".xml", ".bin", "_int8.xml", "_int8.bin")
}  # fmt: skip


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder inside this one to write into, whose files take the places of an export's once the block has ended.

    Until then an export that is there stays as it is; files in the folder that are not an export's stay in any case. InputError
    where the folder is not empty and is no export, or cannot be written.
    """
    check_folder(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    except OSError as error:
        raise must_be("--to", "a folder that can be written to", str(folder), f"{error.strerror}. Name another folder.") from None
    try:
        yield partial
        for path in [path for path in folder.iterdir() if path.name in FILES]:
            path.unlink()
        for path in partial.iterdir():
            path.chmod(0o666 & ~_umask())
            path.rename(folder / path.name)
        is_new = False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new:
            folder.rmdir()


def check_folder(folder: Path) -> None:
    """InputError where something else is there than an export or an empty folder."""
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise must_be("--to", "a folder", str(folder), f"{above.name} is a file.")
    if folder.is_dir() and any(folder.iterdir()) and _config(folder).get("model_type") != MODEL_TYPE:
        raise must_be("--to", "a new folder, an empty one or an export, which is replaced", str(folder), "It holds something else.")


def check_room(folder: Path, num_bytes: int) -> None:
    """InputError where the disk of a folder, which need not exist yet, has less room than this."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < num_bytes:
        raise must_be("--to", f"on a disk with room for {num_bytes / 1e6:,.1f} MB", str(folder), f"It has {free / 1e6:,.1f} MB.")


def _write_weights(model: nn.Module, folder: Path) -> None:
    try:
        safetensors.torch.save_model(model.cpu(), str(folder / WEIGHTS), metadata={"format": "pt"})
    except (OSError, safetensors.SafetensorError) as error:
        rule = "a folder that can be written, with space left"
        raise WriteError(f"--to must be {rule}. Got {str(folder.parent)!r} instead: {first_line(error)}.") from None


def write_any(spec: CallableSpec, model: nn.Module, folder: Path, about: Mapping[str, Any]) -> None:
    """The weights of a network that a callable makes, the call, and what its inputs must look like."""
    _write_weights(model, folder)
    config = {"model_type": MODEL_TYPE, "format": FORMAT_ANY, "network": spec.to_dict(), **about, "versions": describe_software()}
    write_json(folder / CONFIG, config)
    inputs = [
        {
            "shape": ["N", *each.shape],
            "dtype": "int64" if each.below else "float32",
            **({"below": each.below} if each.below else {}),
        }
        for each in spec.inputs
    ]
    write_json(folder / PREPROCESS, {"inputs": inputs})


def write_network(model: VAE, folder: Path, about: Mapping[str, Any]) -> None:
    """The weights as trained, the spec that they belong to, and what images must look like."""
    spec = model.spec
    _write_weights(model, folder)
    config = {"model_type": MODEL_TYPE, "format": FORMAT, "spec": spec.to_dict(), **about, "versions": describe_software()}
    write_json(folder / CONFIG, config)
    images = {
        "size": [spec.image_size, spec.image_size], "channels": spec.in_channels, "layout": "NCHW", "dtype": "float32",
        "order": "RGB" if spec.in_channels == 3 else "as trained", "range": [0.0, 1.0], "outputs": "the same",
        "how": "centre square, resized to the size with antialiasing, divided by 255",
    }  # fmt: skip
    write_json(folder / PREPROCESS, images)


def load(folder: str | Path, *, trust: bool = False) -> Any:
    """The network of an export with its weights, in evaluation mode, as it was trained (and so can be trained on).

    One that a callable made is made by it again: that runs code which the folder names, and needs `trust`.
    InputError where the folder is no export, is of a later version, needs pieces that are not registered, or is damaged.
    """
    path = Path(folder)
    config = _config(path)
    if config.get("model_type") != MODEL_TYPE:
        raise must_be("The folder", f"an export, whose {CONFIG} names {MODEL_TYPE}", str(path), "`export` writes one.")
    version = config.get("format")
    if not isinstance(version, int) or version > FORMAT_ANY:
        remedy = "A later version of this package wrote it: update the package."
        raise must_be("The export", f"of format {FORMAT_ANY} at most", f"format {version}", remedy)
    try:
        spec = spec_from_dict(config.get("network") or config["spec"])
    except InputError as error:
        plugins = ", ".join(config.get("plugins", ()))
        remedy = f" Import first what registers its pieces: {plugins}." if plugins else ""
        raise InputError(f"{error}{remedy} It stands in {path / CONFIG}.") from None
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path / CONFIG} must hold a spec. Got {first_line(error)!r} instead. Export the network again."
        ) from None
    if isinstance(spec, CallableSpec) and not trust:
        remedy = f"{spec.text} is called, whatever that is: pass trust=True where you know who wrote the folder."
        raise must_be("The export of a network that a callable makes", "loaded with trust", str(path), remedy)
    model: nn.Module = spec.build_plain(seed=0) if isinstance(spec, CallableSpec) else build(spec, seed=0)
    try:
        safetensors.torch.load_model(model, path / WEIGHTS)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = first_line(error)
        raise InputError(f"{path / WEIGHTS} must hold the weights of this network. {reason} Export the network again.") from None
    return model.eval()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Plain values, indented."""
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
