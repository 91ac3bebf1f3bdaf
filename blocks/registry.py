"""A registry per family of interchangeable pieces: explicit permanent names, no duplicates, misses that list the choices."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from blocks.errors import InputError, choices, must_be, near

T = TypeVar("T", bound=Callable[..., object])


class Registry(Generic[T]):
    """Names of the pieces of one family. A piece is a class or function with the family's constructor signature.

    >>> shapes = Registry("shape", "make() -> str")
    >>> @shapes.register("square")
    ... def square():
    ...     "Four equal sides."
    >>> shapes.names(), shapes.summary("square")
    (('square',), 'Four equal sides.')
    """

    def __init__(self, family: str, signature: str, governs: Sequence[str] = ()) -> None:
        self.family = family
        # how a piece of this family is constructed, in words a person can follow
        self.signature = signature
        # fields of a spec that only pieces of this family read; one that no chosen piece reads is inert
        self.governs = tuple(governs)
        self._pieces: dict[str, T] = {}
        self._uses: dict[str, tuple[str, ...]] = {}

    def register(self, name: str, *, uses: Sequence[str] | None = None) -> Callable[[T], T]:
        """Decorator that adds a piece. `uses`: which of the governed fields it reads; by default all of them."""
        if not name.isidentifier():
            raise must_be(f"The name of a {self.family} piece", "a plain identifier", name)
        unknown = set(uses or ()) - set(self.governs)
        if unknown:
            raise must_be(f"'uses' of {self.family} piece {name!r}", f"among {', '.join(self.governs) or 'none'}", sorted(unknown))

        def add(piece: T) -> T:
            if name in self._pieces:
                raise InputError(f"The {self.family} piece {name!r} is registered already. Choose another name: it is permanent.")
            if not (piece.__doc__ or "").strip():  # an inherited docstring says nothing of the piece
                raise InputError(f"The {self.family} piece {name!r} must have a docstring. Its first line is what `list` shows.")
            self._pieces[name] = piece
            self._uses[name] = self.governs if uses is None else tuple(uses)
            return piece

        return add

    def get(self, name: str) -> T:
        """The piece of that name, or an InputError that lists the choices."""
        self.check(name)
        return self._pieces[name]

    def check(self, name: str, parameter: str | None = None) -> None:
        """InputError unless a piece has that name."""
        if name not in self._pieces:
            remedy = near(name, self.names(), "Pieces of your own come in through --plugin.")
            raise must_be(parameter or self.family, choices(self.names()), name, remedy)

    def uses(self, name: str) -> tuple[str, ...]:
        """The governed fields that this piece reads."""
        self.check(name)
        return self._uses[name]

    def names(self) -> tuple[str, ...]:
        """All names, in order of registration."""
        return tuple(self._pieces)

    def summary(self, name: str) -> str:
        """The first line of the piece's docstring."""
        return (inspect.getdoc(self.get(name)) or "").splitlines()[0]
