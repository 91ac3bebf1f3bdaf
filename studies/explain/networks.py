"""Networks as they are named on a command line: presets, specs in files, callables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation.design.call_text import is_callable_path
from ablation.design.callable_spec import CallableSpec
from ablation.design.network import AnySpec
from ablation.design.space import read_toml
from ablation.design.spec import PRESETS, ModelSpec, preset
from blocks.errors import must_be
from studies.explain.options import OnNetworks


def read_networks(texts: Sequence[str], options: OnNetworks) -> list[AnySpec]:
    """The networks of a command, all of which take the same input; InputError in one line for what can't be read, made or run."""
    callables = [text for text in texts if is_callable_path(text)]
    if options.input and not callables:
        raise must_be("--input", "given with a callable", " ".join(options.input), "Presets and specs have --image-size.")
    specs: list[AnySpec] = []
    for text in texts:
        if text in callables:
            specs.append(CallableSpec.read(text, options.input))
        elif (call := _call_in(text)) is not None:
            specs.append(CallableSpec.read(*call))
        else:
            spec = read_spec(text)
            specs.append(spec if options.image_size is None else spec.replace(image_size=options.image_size))
    sizes = {text: " and ".join(map(str, inputs_of(spec))) for text, spec in zip(texts, specs, strict=True)}
    if len(set(sizes.values())) > 1:
        got = ", ".join(f"{text} takes {size}" for text, size in sizes.items())
        raise must_be("The networks", "of one image size or input", got, "Give one with --image-size or --input.")
    return specs


def _call_in(text: str) -> tuple[str, list[str]] | None:
    """Callable and inputs of a file that names them, as `search` writes a winner; None of any other text."""
    path = Path(text)
    if path.suffix != ".toml" or not path.is_file():
        return None
    values = read_toml(path)
    network, inputs = values.get("network"), values.get("input", [])
    if not isinstance(network, str):
        return None
    if not isinstance(inputs, list) or not all(isinstance(each, str) for each in inputs):
        raise must_be(f"{path.name}: input", 'a list such as ["3x32x32"]', inputs)
    return network, inputs


def inputs_of(spec: AnySpec) -> list[str]:
    """The inputs that a network takes, as `--input` has them."""
    return list(map(str, spec.inputs)) if isinstance(spec, CallableSpec) else ["x".join(map(str, spec.input_shape))]


def short_names(texts: Sequence[str]) -> list[str]:
    """What networks are called on pages: a callable without its module, unless two are then called the same.

    >>> short_names(["torchvision.models:resnet18", "my_nets:make(width=32)"])
    ['resnet18', 'make(width=32)']
    """
    short = [text.partition(":")[2] if is_callable_path(text) else text for text in texts]
    names = short if len(set(short)) == len(short) else list(texts)
    numbered = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return names if len(set(names)) == len(names) else ["first", "second"] if len(names) == 2 else numbered


def read_spec(text: str) -> ModelSpec:
    """A spec from 'preset', 'preset,field=value,...' or a TOML or JSON file."""
    if text.endswith((".toml", ".json")):
        path = Path(text)
        if not path.is_file():
            raise must_be("A spec", f"a preset ({', '.join(PRESETS)}) or a file", text, "There is no such file.")
        try:
            written = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise must_be("A spec", "a readable file of UTF-8 text", text, f"{error}.") from None
        return (ModelSpec.from_toml if path.suffix == ".toml" else ModelSpec.from_json)(written)
    name, *changes = (part.strip() for part in text.split(","))
    fields: dict[str, Any] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise must_be("A change of a preset", "field=value", change, "For example: original,head=pooled.")
        fields[field.strip()] = _value(value.strip())
    return preset(name).replace(**fields)


def _value(text: str) -> Any:
    """A number, true, false or widths such as 32+64+128; else text."""
    if "+" in text:
        return tuple(_value(part) for part in text.split("+"))
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
