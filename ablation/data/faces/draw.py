"""Drawing with implicit shapes on float32 arrays: anti-aliased cover, soft kernels, colours.

A shape is an array f that is negative inside, in any coordinates; `cover` divides it by its own slope per sample, so its edge is
one sample wide at every resolution. Only operations that IEEE 754 rounds correctly are used (+ - * / sqrt, minimum, maximum,
floor; no sin, exp or matrix product), so a picture has the same bytes on every machine and with every numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]  # float32 throughout; numpy's type hints lose the width on the way through abs and sqrt
Colour: TypeAlias = tuple[float, float, float]  # red, green, blue; 0 to 1


HUGE = 1e30


def at_least(x: Array, low: float) -> Array:
    """The larger of x and `low`; numpy's clip is three times as fast as its maximum with one number."""
    return x.clip(low, HUGE)


def at_most(x: Array, high: float) -> Array:
    """The smaller of x and `high`."""
    return x.clip(-HUGE, high)


def limit01(x: Array) -> Array:
    """x limited to 0..1, in place."""
    return x.clip(0.0, 1.0, out=x)


def smooth(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = x - low
    t *= 1.0 / (high - low)
    limit01(t)
    factor = t * -2.0
    factor += 3.0
    factor *= t
    factor *= t
    return factor


def bump(squared: Array) -> Array:
    """A soft hill: 1 where the squared distance is 0, 0 from 1 on, smooth at both ends."""
    t = 1.0 - squared
    t.clip(0.0, HUGE, out=t)
    t *= t
    return t


def hill(x: Array, y: Array, centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> Array:
    """An elliptic `bump`."""
    t = ellipse(x, y, centre_x, centre_y, radius_x, radius_y)
    t.clip(-HUGE, 0.0, out=t)
    t *= t
    return t


def ellipse(x: Array, y: Array, centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> Array:
    """Shape of an ellipse."""
    u, v = x - centre_x, y - centre_y
    u *= 1.0 / radius_x
    v *= 1.0 / radius_y
    u *= u
    v *= v
    u += v
    u -= 1.0
    return u


def wave(t: Array) -> Array:
    """Close to sin(2 pi t), made of parabolas."""
    q = t - np.floor(t)
    q -= 0.5
    slack = np.abs(q)
    slack -= 0.5
    q *= 16.0
    q *= slack
    return q


def slopes(f: Array) -> tuple[Array, Array]:
    """Change of f per sample to the right and downwards."""
    across, down = np.empty_like(f), np.empty_like(f)
    np.subtract(f[:, 2:], f[:, :-2], out=across[:, 1:-1])
    np.subtract(f[2:], f[:-2], out=down[1:-1])
    across[:, 1:-1] *= 0.5
    down[1:-1] *= 0.5
    across[:, 0], across[:, -1] = f[:, 1] - f[:, 0], f[:, -1] - f[:, -2]
    down[0], down[-1] = f[1] - f[0], f[-1] - f[-2]
    return across, down


def cover(f: Array) -> Array:
    """How much of each sample the shape covers, 0..1."""
    across, down = slopes(f)
    across *= across
    down *= down
    across += down
    across += 1e-12
    np.sqrt(across, out=across)
    np.divide(f, across, out=across)
    np.subtract(0.5, across, out=across)
    return limit01(across)


def paint(rgb: Array, alpha: Array, colour: Colour | Array) -> None:
    """Lay a colour (or 3 x H x W colours) over 3 x H x W, in place, as far as alpha (H x W) covers."""
    layer = colour if isinstance(colour, np.ndarray) else np.array(colour, np.float32)[:, None, None]
    difference = layer - rgb
    difference *= alpha
    rgb += difference


def shade(rgb: Array, factor: Array, tint: Colour = (1.0, 1.0, 1.0)) -> None:
    """Darken in place: the part `factor` (H x W, 0 none, 1 all) of `tint` is taken from each channel."""
    for channel, strength in zip(rgb, tint, strict=True):
        channel *= 1.0 - strength * factor


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """From the first colour (0) to the second (1)."""
    r, g, b = (a + (c - a) * amount for a, c in zip(first, second, strict=True))
    return r, g, b


def scaled(colour: Colour, factor: float) -> Colour:
    """A colour made darker or lighter, at most white."""
    r, g, b = (min(1.0, channel * factor) for channel in colour)
    return r, g, b


def along(palette: Sequence[Colour], position: float) -> Colour:
    """The colour at 0..1 along a palette with equal steps."""
    place = position * (len(palette) - 1)
    index = min(int(place), len(palette) - 2)
    return mix(palette[index], palette[index + 1], place - index)


def hued(hue: float, saturation: float, value: float) -> Colour:
    """RGB of hue, saturation and value, each 0..1."""

    def channel(offset: float) -> float:
        place = (hue * 6.0 + offset) % 6.0
        return value * (1.0 - saturation * max(0.0, min(place, 4.0 - place, 1.0)))

    return channel(5.0), channel(3.0), channel(1.0)


def octet(red: int, green: int, blue: int) -> Colour:
    """A colour from 8-bit channels."""
    return red / 255.0, green / 255.0, blue / 255.0


def halved(picture: Array) -> Array:
    """C x 2H x 2W averaged to C x H x W, in a fixed order of additions."""
    rows = picture[:, 0::2] + picture[:, 1::2]
    boxes: Array = rows[:, :, 0::2] + rows[:, :, 1::2]
    boxes *= 0.25
    return boxes
