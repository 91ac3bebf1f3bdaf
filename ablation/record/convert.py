"""Frozen dataclasses as plain JSON values, and back: the one converter of all that is stored. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.errors import CattrsError

T = TypeVar("T")

_CONVERTER = Converter(forbid_extra_keys=True, detailed_validation=False, unstruct_collection_overrides={tuple: list})
for _kind in (str, int, float, bool):
    # numbers and texts stay as they are stored: an integer in a float's field is written again as an integer
    _CONVERTER.register_structure_hook(_kind, lambda value, _: value)


def to_plain(value: Any) -> Any:
    """Dataclasses and mappings as dicts, tuples as lists, at any depth.

    >>> from ablation.record.explanation import GuidelinePoint
    >>> to_plain((GuidelinePoint(setting="1:1", ms=2.5, relative=1.0),))
    [{'setting': '1:1', 'ms': 2.5, 'relative': 1.0, 'low': None, 'high': None}]
    """
    return _CONVERTER.unstructure(value)


def from_plain(kind: type[T], values: Mapping[str, Any]) -> T:
    """The inverse of `to_plain`, also after a trip through JSON.

    Missing fields get their defaults. ValueError where a field without one is missing, a key is unknown, or a list or mapping
    was expected; what the class itself raises for a wrong value stays as it is.

    >>> from ablation.record.explanation import GuidelinePoint
    >>> from_plain(GuidelinePoint, {"setting": "1:1", "ms": 2.5, "relative": 1.0}).low is None
    True
    """
    try:
        return _CONVERTER.structure(values, kind)
    except KeyError as error:
        raise ValueError(f"no {kind.__name__}: {error} is missing") from error
    except (AttributeError, TypeError, CattrsError) as error:
        raise ValueError(f"no {kind.__name__}: {error}") from error
