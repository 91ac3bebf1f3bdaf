"""What made the winner better: its differences from the reference, each undone by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ablation.attribute.factorial import factors_between
from ablation.design.spec import ModelSpec
from blocks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """The differences between two networks."""

    levels: dict[str, tuple[str, str]] = field(default_factory=dict)  # factor -> level in the reference and in the winner, as text
    undone: dict[str, ModelSpec] = field(default_factory=dict)  # factor -> the winner with that one set back
    reasons: dict[str, str] = field(default_factory=dict)  # factor -> why that can't be built

    def facts(self) -> dict[str, Any]:
        """As a folder keeps them, plain."""
        return {"levels": {factor: list(pair) for factor, pair in self.levels.items()}, "reasons": self.reasons}


def swaps_between(reference: ModelSpec, winner: ModelSpec) -> Swaps:
    """Each factor in which the winner differs from the reference, set back alone; those that change nothing are left out.

    >>> from ablation import preset
    >>> swaps = swaps_between(preset("small"), preset("small").replace(head="pooled", encoder_conv="separable"))
    >>> swaps.levels
    {'encoder convolution': ('standard', 'separable'), 'head': ('flatten', 'pooled')}
    >>> swaps.undone["head"].head, swaps.undone["head"].encoder_conv
    ('flatten', 'separable')
    """
    swaps = Swaps()
    for factor, halves in factors_between(reference, winner).items():
        swaps.levels[factor] = (_text(halves[0]), _text(halves[1]))
        own = {name: halves[0].get(name, getattr(reference, name)) for name in {**halves[1], **halves[0]}}
        try:
            spec = winner.replace(**own)
        except InputError as error:
            swaps.reasons[factor] = str(error)
        else:
            if spec.network_key in {winner.network_key, *(other.network_key for other in swaps.undone.values())}:
                swaps.reasons[factor] = "Undone alone it makes a network that is there already."
            elif spec.network_key == reference.network_key:
                swaps.reasons[factor] = "It is the only difference: undone it is the reference."
            else:
                swaps.undone[factor] = spec
    return swaps


def _text(fields: dict[str, Any]) -> str:
    texts = {name: "-".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in fields.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
