"""Reading a call as a person writes it: `package.module:callable(argument=value)`. Nothing is imported or run here."""

from __future__ import annotations

import ast
from typing import Any

from blocks.errors import must_be

EXAMPLE = "torchvision.models:resnet18 or my_nets:make(width=32, dense=True)"


def is_callable_path(text: str) -> bool:
    """Whether a text names a callable, and neither a preset nor a file.

    >>> [is_callable_path(text) for text in ("my_nets:make(width=32)", "original,head=pooled", "spec.toml")]
    [True, False, False]
    """
    path = text.partition("(")[0]
    return ":" in path and not {"/", "\\"} & set(path) and not text.endswith((".toml", ".json"))


def parsed(text: str, what: str = "A network", example: str = EXAMPLE) -> tuple[str, dict[str, Any], list[Any]]:
    """Path, named and unnamed arguments of a call; InputError for what is none."""
    module, _, call = text.partition(":")
    wrong = must_be(what, f"written as {example}", text)
    try:
        tree = ast.parse(call.strip(), mode="eval").body
    except SyntaxError:
        raise wrong from None
    target = tree.func if isinstance(tree, ast.Call) else tree
    name = ast.unparse(target)
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise wrong
    if not isinstance(tree, ast.Call):
        return f"{module}:{name}", {}, []
    try:
        named = {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords if word.arg}
        positional = [ast.literal_eval(value) for value in tree.args]
    except ValueError:
        rule = "numbers, text, true, false, None, or lists and tables of them"
        raise must_be(f"Arguments of {what[0].lower()}{what[1:]}", rule, ast.unparse(tree)) from None
    if len(named) < len(tree.keywords):
        raise wrong
    return f"{module}:{name}", named, positional
