"""Registries: permanent names, no duplicates, misses that list the choices; each error is one line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from torch import nn

from blocks import FAMILIES, Registry
from blocks.errors import InputError, choices, must_be


@pytest.fixture
def registry() -> Registry[Callable[..., str]]:
    made: Registry[Callable[..., str]] = Registry("roof", "roof(width)", governs=("pitch", "tiles"))

    @made.register("flat", uses=())
    def flat(width: int) -> str:
        """No slope.

        More of it.
        """
        return f"flat {width}"

    @made.register("gable", uses=("pitch",))
    def gable(width: int) -> str:
        """Two slopes."""
        return f"gable {width}"

    @made.register("hip")
    def hip(width: int) -> str:
        """Four slopes."""
        return f"hip {width}"

    return made


def refused(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_pieces_come_back_by_name_in_order(registry: Registry[Callable[..., str]]) -> None:
    assert registry.names() == ("flat", "gable", "hip")
    assert registry.get("gable")(3) == "gable 3"
    assert registry.summary("flat") == "No slope."


def test_a_piece_reads_the_governed_fields_it_names_or_all(registry: Registry[Callable[..., str]]) -> None:
    assert [registry.uses(name) for name in registry.names()] == [(), ("pitch",), ("pitch", "tiles")]


def test_the_decorator_returns_the_piece_itself(registry: Registry[Callable[..., str]]) -> None:
    def dome(width: int) -> str:
        """Round."""
        return "dome"

    assert registry.register("dome")(dome) is dome
    assert registry.get("dome") is dome


def test_a_miss_lists_the_choices_and_suggests_the_nearest(registry: Registry[Callable[..., str]]) -> None:
    line = "roof must be one of flat, gable, hip. Got 'gabel' instead. Did you mean 'gable'?"
    for call in (registry.get, registry.check, registry.uses, registry.summary):
        refused(line, lambda call=call: call("gabel"))
    line = "shed_roof must be one of flat, gable, hip. Got 'zzz' instead. Pieces of your own come in through --plugin."
    refused(line, lambda: registry.check("zzz", "shed_roof"))


def test_a_duplicate_is_refused_and_the_first_stays(registry: Registry[Callable[..., str]]) -> None:
    first = registry.get("flat")
    line = "The roof piece 'flat' is registered already. Choose another name: it is permanent."
    refused(line, lambda: registry.register("flat")(registry.get("hip")))
    assert registry.get("flat") is first


@pytest.mark.parametrize("name", ["", "two words", "1st", "a-b", "line\nbreak"])
def test_names_are_identifiers(registry: Registry[Callable[..., str]], name: str) -> None:
    refused(f"The name of a roof piece must be a plain identifier. Got {name!r} instead.", lambda: registry.register(name))


def test_uses_name_governed_fields(registry: Registry[Callable[..., str]]) -> None:
    line = "'uses' of roof piece 'new' must be among pitch, tiles. Got ['colour'] instead."
    refused(line, lambda: registry.register("new", uses=("pitch", "colour")))
    line = "'uses' of bare piece 'new' must be among none. Got ['pitch'] instead."
    refused(line, lambda: Registry("bare", "bare()").register("new", uses=("pitch",)))


class Silent(nn.Sequential):
    # its own docstring is missing; the one of nn.Sequential does not count
    def __init__(self, width: int) -> None:
        super().__init__()


@pytest.mark.parametrize("piece", [lambda width: "roof", Silent], ids=["function", "class"])
def test_a_piece_has_a_docstring_of_its_own(registry: Registry[Callable[..., object]], piece: Callable[..., object]) -> None:
    line = "The roof piece 'new' must have a docstring. Its first line is what `list` shows."
    refused(line, lambda: registry.register("new")(piece))
    assert "new" not in registry.names()


def test_names_are_permanent() -> None:
    # results/ refers to them: a name may be added here, none may go
    promised = {
        "conv": "standard separable pointwise_first reparameterised partial inverted_residual shuffle_unit convnext",
        "connectivity": "plain dense residual",
        "down": "max avg strided unshuffle residual_unshuffle",
        "up": "nearest bilinear transposed shuffle residual_shuffle",
        "head": "flatten pooled bottleneck",
        "attention": "none squeeze_excitation",
        "stem": "full space_to_depth",
        "latent_stem": "linear squeezed",
        "end": "conv depth_to_space",
        "norm": "batch group none",
        "activation": "elu relu leaky_relu silu gelu",
        "architecture": "stages toledo",
    }
    assert list(FAMILIES) == list(promised)
    for family, names in promised.items():
        assert set(names.split()) <= set(FAMILIES[family].names())


def test_the_template_of_errors() -> None:
    assert (
        str(must_be("width", choices(["1", "2"]), "3\n4", "Take 2.")) == "width must be one of 1, 2. Got '3\\n4' instead. Take 2."
    )
    assert str(must_be("width", "positive", -1)) == "width must be positive. Got -1 instead."
    assert issubclass(InputError, ValueError)
