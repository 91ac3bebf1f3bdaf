"""Eyes, brows, nostrils and mouth, drawn on the frontal face that the pose turns."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import (
    Array,
    Colour,
    along,
    at_least,
    bump,
    cover,
    ellipse,
    hill,
    hued,
    mix,
    octet,
    paint,
    scaled,
    shade,
    smooth,
)
from ablation.data.faces.factors import Traits
from ablation.data.faces.view import View, hair_colour, skin_colour

EYE_Y = 0.04
IRIS = (octet(62, 36, 22), octet(112, 74, 36), octet(86, 112, 62), octet(62, 112, 160), octet(128, 142, 152))


def eye_x(t: Traits) -> float:
    """Distance of each eye from the middle of the face."""
    return 0.37 + 0.08 * t.eye_spacing


def lit(v: View, colour: Colour) -> Array:
    """A colour under the light that the skin has: 3 x H x W."""
    return np.array(colour, np.float32)[:, None, None] * v.lit


def features(v: View) -> None:
    """Everything between forehead and chin."""
    _eyes(v)
    _brows(v)
    _nostrils(v)
    _mouth(v)


def _eyes(v: View) -> None:
    """Both eyes at once: `out` runs towards each temple, `u` to the right in both."""
    t, p = v.traits, v.pose
    half = 0.185 + 0.065 * t.eye_size
    w = v.across(EYE_Y, eye_x(t) + 1.5 * half, 2.0 * half * p.aspect)
    out = (np.abs(w.x) - eye_x(t)) * (1.0 / half)
    u = np.copysign(np.float32(1), w.x) * out
    height = (w.y - EYE_Y) * (1.0 / (half * p.aspect)) + 0.1 * out
    squared = u * u
    arch = 1.0 - squared
    above = height + (0.2 + 0.48 * t.eye_openness) * arch
    below = height - (0.3 + 0.14 * t.eye_openness - 0.14 * t.smile) * arch
    if t.painted > 0:
        shadow = 0.75 * t.painted * hill(out, height, 0.1, -0.55, 1.15, 0.62)
        paint(w.rgb, shadow, lit(w, mix(scaled(skin_colour(t), 0.6), hued((t.clothing_hue + 0.5) % 1.0, 0.5, 0.5), 0.4)))
    opening = cover(np.maximum(-above, below))
    white = lit(w, (1.06, 1.04, 1.03))
    shade(white, 0.5 * smooth(-0.3, 0.0, -above) + 0.3 * smooth(0.25, 1.0, squared), (0.8, 1.0, 1.0))
    paint(w.rgb, opening, white)
    _iris(w, t, u - 0.62 * (t.gaze - 0.5), height + 0.08, opening)
    _lids(w, t, out, squared, above, below)


def _iris(w: View, t: Traits, u: Array, height: Array, opening: Array) -> None:
    """Iris with a dark rim, pupil and the light's reflection, inside the opening of the lids."""
    colour = along(IRIS, t.eye_colour)
    disc = ellipse(u, height, 0.0, 0.0, 0.5, 0.5)
    squared = (u * u + height * height) * 4.0
    colours = lit(w, scaled(colour, 1.25)) * (1.25 - 0.75 * squared * squared + 0.35 * height)
    shade(colours, 0.5 * smooth(-0.1, -0.5, height))
    paint(w.rgb, opening * cover(disc), at_least(colours, 0.03))
    paint(w.rgb, opening * cover(ellipse(u, height, 0.0, 0.0, 0.23, 0.23)), (0.03, 0.025, 0.03))
    glint = ellipse(u, height, 0.3 * w.pose.light[0], -0.17, 0.14, 0.14)
    paint(w.rgb, opening * cover(glint), (1.0, 1.0, 1.0))


def _lids(w: View, t: Traits, out: Array, squared: Array, above: Array, below: Array) -> None:
    """Lashes along the upper lid, the fold above it and a faint lower lid."""
    thick = 0.09 + 0.07 * (1.0 - t.masculinity) + 0.06 * t.painted
    taper = at_least(1.0 - 0.75 * squared + 0.35 * out, 0)
    dark = mix((0.09, 0.06, 0.06), hair_colour(t), 0.12)
    paint(w.rgb, 0.92 * cover(np.maximum(np.abs(above + 0.03) - thick * taper, np.abs(out) - 1.1)), dark)
    fold = above + (0.3 + 0.05 * t.eye_openness)
    lines = 0.42 * bump(fold * fold * 60.0) + 0.32 * bump(below * below * 90.0)
    lines *= smooth(-1.25, -0.6, -squared)
    shade(w.rgb, lines, (0.75, 1.0, 1.0))


def _brows(v: View) -> None:
    t = v.traits
    centre, middle = eye_x(t) + 0.015, -0.165 - 0.035 * t.eye_openness
    half = 0.25 + 0.02 * t.masculinity
    w = v.across(middle, centre + 1.3 * half, 0.2)
    out = (np.abs(w.x) - centre) * (1.0 / half)
    arch = 0.055 - 0.02 * t.masculinity
    slant = 0.08 * (t.brow_slant - 0.5)
    line = w.y - (middle - arch) + slant * out - arch * out * out
    thick = (0.016 + 0.036 * t.brow_thickness) * (0.85 + 0.3 * t.masculinity)
    band = np.abs(line) - thick * at_least(1.0 - 0.3 * out - 0.45 * out * out, 0.02)
    colour = mix(scaled(hair_colour(t), 0.72), scaled(skin_colour(t), 0.35), 0.35)
    paint(w.rgb, 0.88 * cover(np.maximum(band, np.abs(out) - 1.08)), colour)


def _nostrils(v: View) -> None:
    t = v.traits
    big = 0.68 + 0.75 * t.nose_size
    shift = 0.14 * v.pose.sin_yaw
    w = v.around(shift, 0.4, 0.3 * big, 0.14)
    side = np.abs(w.x - shift)
    wing = ellipse(side, w.y, 0.135 * big, 0.37, 0.075 * big, 0.065)
    edge = bump(wing * wing * 2.2) * smooth(0.1 * big, 0.2 * big, side)
    shade(w.rgb, 0.34 * edge, (0.75, 1.0, 1.0))
    shade(w.rgb, 0.75 * hill(side, w.y, 0.072 * big, 0.415, 0.062 * big, 0.032), (0.8, 1.0, 1.0))


def _mouth(v: View) -> None:
    t = v.traits
    half = 0.27 + 0.08 * t.smile + 0.03 * t.masculinity
    w = v.around(0.0, 0.61, 1.35 * half, 0.3)
    u = w.x * (1.0 / half)
    arch = at_least(1.0 - u * u, 0)
    line = 0.60 - (0.125 * t.smile - 0.04) * (u * u - 0.45)
    gap = 0.012 + 0.135 * t.mouth_gap
    full = 0.35 + 1.15 * t.lip_fullness
    inside = np.abs(u) - 1.0
    bow = 1.0 - 0.3 * bump(u * u * 16.0)
    top = line - 0.12 * gap * arch - 0.055 * full * arch * bow
    upper, lower = line - 0.12 * gap * arch, line + gap * arch
    bottom = lower + 0.075 * full * arch * (0.6 + 0.4 * arch)
    _lips(w, t, np.maximum(np.maximum(top - w.y, w.y - bottom), inside), smooth(0.0, 0.06, w.y - lower))
    opening = cover(np.maximum(np.maximum(upper - w.y, w.y - lower), inside))
    _teeth(w, opening, w.y - upper, lower - w.y, t.mouth_gap)
    corner = hill(np.abs(u), w.y - line, 1.02, 0.0, 0.16, 0.03)
    shade(w.rgb, 0.5 * corner, (0.75, 1.0, 1.0))


def _lips(w: View, t: Traits, shape: Array, lower: Array) -> None:
    """Both lips: the upper one lies in shade, the lower one shines."""
    skin = skin_colour(t)
    natural = mix(skin, (0.74, 0.30, 0.30), 0.55 - 0.15 * t.masculinity)
    colour = mix(scaled(natural, 0.94), hued((0.93 + 0.1 * t.clothing_hue) % 1.0, 0.78, 0.78), 0.9 * t.painted)
    colours = lit(w, colour) * (0.84 + 0.2 * lower)
    colours += (0.07 + 0.1 * t.painted) * hill(w.x, lower, 0.1 * w.pose.light[0], 0.5, 0.16, 0.4)
    paint(w.rgb, cover(shape), colours)


def _teeth(w: View, opening: Array, below_upper: Array, above_lower: Array, gap: float) -> None:
    """The inside of the mouth: dark, a tongue, and a row of teeth once it stands open."""
    paint(w.rgb, opening, lit(w, (0.30, 0.09, 0.10)))
    if gap > 0:
        paint(w.rgb, opening * smooth(-0.07, 0.0, -above_lower) * min(1.0, 3.0 * gap), lit(w, (0.66, 0.30, 0.30)))
        row = smooth(-0.066, -0.054, -below_upper)
        paint(w.rgb, opening * row * min(1.0, 4.0 * gap), lit(w, (1.05, 1.03, 0.98)))
