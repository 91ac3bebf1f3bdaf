"""Stored numbers by name, for the statements of findings: places in JSON, CSV and text, and arithmetic over them. No torch.

A place in JSON: keys between dots, items of a list by number or by `[key=value]`. In a CSV: a row by `[column=value]`, then the
column. In any other text: the number behind `after "these words"`, which may be repeated to go on from there. In a ledger a claim's
id is enough. An expression is one place, or arithmetic (+ - * / exp log abs) over places in braces: "1 - {b.params} / {a.params}".
One place has an interval where `low` and `high` stand beside its value; an expression over one place keeps it.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+−-]?\d+)?"
PLACE = re.compile(r"\{([^}]*)\}")
STEP = re.compile(r"\[([^\]=]+)=([^\]]*)\]|([^.\[\]]+)")
AFTER = re.compile(r'after "([^"]*)"')
WORD = "kind"  # of a verdict, compared as text


class Unsupported(Exception):  # noqa: N818 - not an error of the program: what is written is not what is stored
    """Why a statement does not stand."""


@dataclass(frozen=True)
class Span:
    """A stored number, with its interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def document(path: Path) -> Any:
    """A file as plain values: JSON, rows of a CSV, or text."""
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return path.read_text(encoding="utf-8")


def evaluate(expression: str, stored: Any) -> Span | str:
    """What an expression is in a document: a number, with an interval where one place alone has one, or a verdict's word."""
    places = PLACE.findall(expression)
    if not places:
        return find(expression, stored)
    spans = [find(place, stored) for place in places]
    words = [place for place, span in zip(places, spans, strict=True) if isinstance(span, str)]
    if words:
        raise Unsupported(f"not a number: {words[0]}")
    numbers = [span for span in spans if isinstance(span, Span)]
    tree = ast.parse(PLACE.sub("_", expression).strip(), mode="eval").body
    ends = [_ends(numbers, name) for name in ("value", "low", "high")]
    values = [None if None in end else _arithmetic(tree, iter([float(v) for v in end if v is not None])) for end in ends]
    value, *interval = values
    assert value is not None
    known = sorted(end for end in interval if end is not None)  # falling functions turn an interval round
    return Span(value, *known) if len(numbers) == 1 and len(known) == 2 else Span(value)


def _ends(spans: list[Span], name: str) -> list[float | None]:
    return [getattr(span, name) for span in spans]


OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[[float], float]] = {"exp": math.exp, "log": math.log, "abs": abs}


def _arithmetic(node: ast.expr, places: Iterator[float]) -> float:
    """The value of an expression; "_" stands for the next place."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left = _arithmetic(node.left, places)
        return OPERATORS[type(node.op)](left, _arithmetic(node.right, places))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_arithmetic(node.operand, places)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and len(node.args) == 1:
        return FUNCTIONS[node.func.id](_arithmetic(node.args[0], places))
    if isinstance(node, ast.Name) and node.id == "_":
        return next(places)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    raise Unsupported("no arithmetic that is known")


def find(place: str, stored: Any) -> Span | str:
    """What stands at a place of a document."""
    if isinstance(stored, str):
        return Span(_after(place, stored))
    parent, key, value = None, "", stored
    for row_key, row_value, name in STEP.findall(place.strip()):
        parent, key = value, name.strip()
        value = _row(value, row_key, row_value) if row_key else _child(value, key)
    return _spanned(parent, key, value)


def _after(place: str, text: str) -> float:
    position = 0
    for words in AFTER.findall(place):
        found = text.find(words, position)
        if found < 0:
            raise Unsupported(f"the text has no {words!r}")
        position = found + len(words)
    number = re.match(rf"\s*[×]?({NUMBER})([\s\u00a0]?%)?", text[position:])
    if number is None or not position:
        raise Unsupported("there is no number behind these words")
    return float(number[1].replace(",", "").replace("−", "-")) / (100 if number[2] else 1)


def _row(rows: Any, key: str, wanted: str) -> Any:
    found = [row for row in rows if isinstance(row, Mapping) and str(row.get(key)) == wanted] if isinstance(rows, list) else []
    if len(found) != 1:
        raise Unsupported(f"{len(found)} items have {key} = {wanted}")
    return found[0]


def _child(value: Any, key: str) -> Any:
    if isinstance(value, Mapping) and key not in value and isinstance(value.get("verdicts"), Mapping):
        value = value["verdicts"]  # a ledger's claims may be named without it
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    raise Unsupported(f"nothing is stored as {key!r}")


def _spanned(parent: Any, key: str, value: Any) -> Span | str:
    if isinstance(value, Mapping):
        if WORD in value:
            return str(value[WORD])
        name = next((n for n in ("value", "ratio", "mean", "median_ms") if n in value), None)
        if name is None:
            raise Unsupported("this is no number")
        return Span(_number(value[name]), value.get("low"), value.get("high"))
    ends = [parent.get(f"{key}_{end}") for end in ("low", "high")] if isinstance(parent, Mapping) else [None, None]
    try:
        return Span(_number(value), *ends)
    except Unsupported:
        if isinstance(value, str):
            return value
        raise


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Unsupported(f"no number: {value!r}") from None
