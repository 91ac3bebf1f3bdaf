"""Stubble, moustache, goatee and beard."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import Array, at_least, at_most, ellipse, hill, paint, scaled, smooth, wave
from ablation.data.faces.view import View, hair_colour


def beard(v: View) -> None:
    """Stubble, moustache, goatee or full beard."""
    t = v.traits
    if not t.beard_style:
        return
    w = v.window(-1.1, 1.1, 0.1, 1.12)
    whiskers = _moustache(w)
    if t.beard_style == 3:
        whiskers = np.minimum(whiskers, _goatee(w))
    if t.beard_style in (1, 4):
        whiskers = np.minimum(whiskers, _cheeks(w))
    grain = 0.82 + 0.1 * wave(w.x * 7.0 + 0.5 * wave(w.y * 3.0)) + 0.08 * wave(w.x * 17.0 - w.y * 4.0)
    colours = np.array(scaled(hair_colour(t), 0.9), np.float32)[:, None, None] * (grain * (0.3 + 0.75 * w.lit))
    if t.beard_style == 1:
        alpha = 0.34 * smooth(-0.12, 0.02, -whiskers)
    else:
        alpha = 0.94 * smooth(-0.035, 0.025, -whiskers)
    paint(w.rgb, alpha * w.mask * (1.0 - _lips_free(w)), colours)


def _moustache(v: View) -> Array:
    side = np.abs(v.x)
    middle = 0.497 + 0.16 * side * side + 0.16 * at_least(side - 0.26, 0)
    return np.maximum(np.abs(v.y - middle) - 0.052 + 0.07 * side * side, side - 0.4)


def _goatee(v: View) -> Array:
    return np.maximum(0.2 * ellipse(v.x, v.y, 0.0, 0.74, 0.42, 0.38), 0.5 - v.y)


def _cheeks(v: View) -> Array:
    """Along the jaw: below a line from the ear to the corner of the mouth."""
    side = np.abs(v.x)
    line = 0.74 - 0.75 * at_least(side - 0.3, 0) - 0.5 * at_least(side - 0.7, 0)
    corner = np.maximum(np.abs(side - 0.38) - 0.09, np.abs(v.y - 0.64) - 0.14)
    return np.minimum(line - v.y, corner)


def _lips_free(v: View) -> Array:
    """Keeps the lips clear of whiskers: 0..1."""
    t = v.traits
    height = 0.045 + 0.05 * t.lip_fullness + 0.11 * t.mouth_gap
    centre = 0.615 + 0.05 * t.mouth_gap
    return at_most(hill(v.x, v.y, 0.0, centre, 0.42 + 0.06 * t.smile, height * 1.9) * 2.6, 1)
