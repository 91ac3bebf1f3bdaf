"""The names of an explanation's two networks as its page shows them: a person may name any file. No torch."""

from __future__ import annotations

from typing import Any

from ablation.machine.text import printable, shortened
from ablation.record.convert import to_plain
from ablation.record.explanation import Explanation
from ablation.record.stored import explanation_of

WIDTH = 28  # most characters of a name
_ALIKE = str.maketrans({"`": "'", "*": "\u2217"})  # what would be read as markup inside a sentence


def with_shown_names(explanation: Explanation) -> Explanation:
    """The same explanation, its networks named in one line, without markup, and so shortly that plots have room for their bars."""
    plain = {name: printable(name).translate(_ALIKE) for name in (explanation.first, explanation.second)}
    short = shortened(plain.values(), WIDTH)
    names = {name: short[text] for name, text in plain.items()}
    if all(name == shown for name, shown in names.items()) or len(set(names.values())) < 2:
        return explanation
    return explanation_of(_renamed(to_plain(explanation), names))


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(inner, names) for key, inner in value.items()}
    return [_renamed(inner, names) for inner in value] if isinstance(value, list | tuple) else value
