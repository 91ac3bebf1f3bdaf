"""The head: outline, ears, skin shaded as a solid, lines of age."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import Array, at_least, bump, cover, ellipse, hill, paint, shade, slopes, smooth
from ablation.data.faces.view import View, skin_colour


def outline(v: View) -> Array:
    """Shape of the head without ears and hair: -1 at its middle, 0 on its edge."""
    t, p = v.traits, v.pose
    below = at_least(v.Y, 0)
    square = below * below
    taper = 0.49 - 0.29 * t.jaw_width - 0.12 * t.masculinity
    blunt = 0.15 + 0.5 * t.jaw_width * (0.4 + 0.6 * t.masculinity)
    width = at_least(1.0 - taper * square, 0.3)
    across = (v.X - 0.42 * p.sin_yaw * square) / width
    shape: Array = across * across + v.Y * v.Y + blunt * (square * square - square)
    shape -= 1.0
    return shape


def ears(v: View) -> None:
    """Both ears, of which the head hides the far one as it turns."""
    p = v.pose
    for side in (-1.0, 1.0):
        centre = side * 1.0 - 0.2 * p.sin_yaw
        w = v.window(centre - 0.25, centre + 0.25, -0.2, 0.42)
        shape = ellipse(w.X, w.Y, centre, 0.1, 0.16, 0.22)
        tone = np.array(skin_colour(v.traits), np.float32)[:, None, None] * np.array([1.0, 0.9, 0.88], np.float32)[:, None, None]
        colours = tone * (0.72 + 0.3 * side * p.light[0] * np.ones_like(w.X))
        shade(colours, 0.4 * hill(w.X, w.Y, centre, 0.08, 0.1, 0.15), (0.7, 1.0, 1.0))
        paint(w.rgb, cover(shape), colours)


def head(v: View) -> None:
    """Paint the skin, and fill the face mask and the brightness that the features share."""
    w = v.window(-1.1, 1.1, -1.06, 1.08)
    shape = outline(w)
    alpha = cover(shape)
    np.copyto(w.mask, alpha)
    np.copyto(w.lit, _brightness(w, shape))
    paint(w.rgb, alpha, _skin(w, shape))


def _brightness(v: View, shape: Array) -> Array:
    """Diffuse light on the head as a solid: an egg with the relief of a face."""
    p, t = v.pose, v.traits
    # samples per unit across
    n = p.half_width / v.step
    relief_x, relief_y = slopes(_relief(v))
    depth = np.sqrt(at_least(-shape, 0.02))
    normal_x = 0.85 * v.X - depth * relief_x * n
    normal_y = 0.5 * v.Y - depth * relief_y * n
    length = np.sqrt(normal_x * normal_x + normal_y * normal_y + depth * depth)
    light = (normal_x * p.light[0] + normal_y * p.light[1] + depth * p.light[2]) / length
    # wrapped around, as light does in skin
    light = at_least(light * 0.75 + 0.25, 0)
    return (0.54 + 0.02 * t.light_strength) + (0.42 + 0.27 * t.light_strength) * light


def _relief(v: View) -> Array:
    """Height of the features above the egg, in half face widths."""
    t, x, y = v.traits, v.x, v.y
    side = np.abs(x)
    big = 0.68 + 0.75 * t.nose_size
    nose = x - 0.14 * v.pose.sin_yaw * smooth(-0.2, 0.4, y)
    height = 0.10 * hill(nose, y, 0.0, 0.16, 0.13 + 0.03 * big, 0.42)
    height += 0.15 * big * hill(nose, y, 0.0, 0.34, 0.15 * big, 0.14)
    height += 0.06 * big * hill(np.abs(nose), y, 0.13 * big, 0.37, 0.09 * big, 0.08)
    height -= 0.13 * hill(side, y, 0.40, 0.0, 0.30, 0.17)
    height += 0.09 * hill(side, y, 0.50, 0.30, 0.34, 0.26)
    height += (0.03 + 0.05 * t.masculinity) * hill(side, y, 0.36, -0.2, 0.36, 0.13)
    height += 0.06 * hill(x, y, 0.0, 0.60, 0.34, 0.15)
    height += (0.06 + 0.05 * t.masculinity) * hill(x, y, 0.0, 0.88, 0.28, 0.16)
    return height


def _skin(v: View, shape: Array) -> Array:
    """Lit skin with blush, hollows and lines: 3 x H x W."""
    t, x, y = v.traits, v.x, v.y
    lit = v.lit
    side = np.abs(x)
    base = np.array(skin_colour(t), np.float32)[:, None, None]
    colours = base * lit
    colours[1] *= 0.92 + 0.08 * lit
    # shadows turn warm, as blood shows through
    colours[2] *= 0.88 + 0.12 * lit
    rosy = hill(side, y, 0.52, 0.33, 0.34, 0.22) * (0.07 + 0.13 * t.painted) + 0.1 * hill(x, y, 0.0, 0.34, 0.2, 0.12)
    shade(colours, rosy, (0.1, 1.0, 0.8))
    hollow = 0.34 * hill(x, y, 0.0, 0.435, 0.2, 0.07) + 0.2 * hill(side, y, 0.38, -0.03, 0.28, 0.12)
    hollow += 0.25 * hill(x, y, 0.0, 0.745, 0.24, 0.05) + 0.22 * smooth(-0.2, 0.0, shape)
    shade(colours, hollow, (0.75, 1.0, 1.0))
    if t.wrinkles > 0:
        shade(colours, t.wrinkles * _lines(v), (0.7, 1.0, 1.0))
    gloss = 0.16 * t.light_strength * hill(x - 0.14 * v.pose.sin_yaw, y, 0.12 * v.pose.light[0], 0.31, 0.09, 0.07)
    gloss += 0.08 * t.light_strength * hill(x, y, 0.5 * v.pose.light[0], -0.42, 0.4, 0.2)
    colours += gloss
    return colours


def _lines(v: View) -> Array:
    """Folds beside the mouth, bags under the eyes, lines on the forehead: 0..1."""
    x, y = v.x, v.y
    side = np.abs(x)
    fold = side - (0.2 + 0.62 * (y - 0.34))
    lines = 0.5 * bump(fold * fold * 900.0) * smooth(0.3, 0.4, y) * smooth(-0.68, -0.56, -y)
    bag = y - (0.22 - 0.9 * (side - 0.4) * (side - 0.4))
    lines += 0.4 * bump(bag * bag * 1100.0) * hill(side, y, 0.4, 0.2, 0.24, 0.2)
    crease = np.abs(y + 0.43 + 0.05 * x * x)
    rows = crease - 0.07
    lines += 0.32 * (bump(crease * crease * 3000.0) + bump(rows * rows * 3000.0)) * hill(x, y, 0.0, -0.43, 0.6, 0.3)
    foot = np.abs(y - 0.05) - 0.45 * (side - 0.66)
    lines += 0.4 * bump(foot * foot * 2500.0) * hill(side, y, 0.74, 0.05, 0.12, 0.12)
    return lines
