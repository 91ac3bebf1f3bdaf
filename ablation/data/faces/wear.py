"""Glasses, earrings and hats."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import (
    Array,
    Colour,
    at_least,
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
    wave,
)
from ablation.data.faces.factors import Traits
from ablation.data.faces.features import EYE_Y, eye_x
from ablation.data.faces.hair import across_skull
from ablation.data.faces.view import View

FRAMES = (octet(24, 22, 26), octet(92, 52, 30), octet(150, 118, 62), octet(58, 62, 74))


def glasses(v: View) -> None:
    """Round or rectangular glasses, or sunglasses; they count as face in the mask."""
    t, p = v.traits, v.pose
    if not t.glasses:
        return
    w = v.window(-1.12, 1.12, -0.35, 0.5)
    centre = eye_x(t) + 0.015
    across = (np.abs(w.x) - centre) * 1.0
    down = (w.y - EYE_Y - 0.02) * (1.0 / p.aspect)
    lens = _lens(int(t.glasses), across, down)
    frame = FRAMES[min(int(4.0 * t.clothing_hue), 3)]
    thick = 0.028 if t.glasses == 1 else 0.036
    shade(w.rgb, 0.22 * smooth(-0.09, 0.0, -np.abs(lens - 0.03)) * w.mask)
    _fill(w, t, lens, down)
    rim = np.abs(lens) - thick
    bridge = np.maximum(np.abs(down + 0.05 - 0.6 * w.x * w.x) - thick, across + 0.2)
    arm = np.maximum(np.maximum(np.abs(down + 0.06) - thick, 0.22 - across), np.abs(w.X) - 0.98)
    paint(w.rgb, cover(np.maximum(np.minimum(np.minimum(rim, bridge), arm), -lens - thick)), frame)


def _lens(kind: int, across: Array, down: Array) -> Array:
    """Signed distance of one lens, mirrored, in half face widths."""
    if kind == 1:
        circle: Array = np.sqrt(across * across + down * down) - 0.275
        return circle
    half_x, half_y, corner = (0.29, 0.2, 0.07) if kind == 2 else (0.32, 0.25, 0.14)
    x = at_least(np.abs(across) - (half_x - corner), 0)
    y = at_least(np.abs(down) - (half_y - corner), 0)
    box: Array = np.sqrt(x * x + y * y) - corner
    return box


def _fill(w: View, t: Traits, lens: Array, down: Array) -> None:
    inside = cover(lens)
    streak = smooth(0.12, 0.2, wave((w.x * 0.8 - down) * 0.9 + 0.15)) * smooth(0.02, 0.2, -down + 0.1)
    if t.glasses == 3:
        tint = mix((0.05, 0.05, 0.06), hued(t.clothing_hue, 0.6, 0.3), 0.35)
        paint(w.rgb, 0.95 * inside, tint)
        paint(w.rgb, inside * smooth(-0.1, 0.3, down) * 0.35, scaled(tint, 3.0))
        streak = streak * 1.5
    paint(w.rgb, 0.13 * inside * streak, (1.0, 1.0, 1.0))


def earrings(v: View) -> None:
    """A golden drop at each lobe that the turn of the head leaves visible."""
    t, p = v.traits, v.pose
    if not t.earring_size:
        return
    radius = 0.085 * t.earring_size
    for side in (-1.0, 1.0):
        if side * p.sin_yaw > 0.2:
            continue
        centre_x, centre_y = side * 1.03 - 0.2 * p.sin_yaw, 0.32 + 0.5 * radius
        w = v.window(centre_x - 0.2, centre_x + 0.2, centre_y - 0.2, centre_y + 0.2)
        drop = ellipse(w.X, w.Y, centre_x, centre_y, radius, 1.5 * radius * p.aspect)
        alpha = cover(drop)
        paint(w.rgb, alpha, (0.86, 0.68, 0.30))
        shine = hill(w.X, w.Y, centre_x - 0.3 * radius, centre_y - 0.3 * radius, 0.6 * radius, 0.6 * radius)
        paint(w.rgb, 0.8 * alpha * shine, (1.0, 0.97, 0.85))
        w.mask[:] *= 1.0 - alpha


def hat(v: View) -> None:
    """Beanie, cap or brimmed hat."""
    t = v.traits
    if not t.hat:
        return
    w = v.window(-1.9, 1.9, -1.45, 0.05)
    across = across_skull(w)
    colour = hued((t.clothing_hue + 0.45) % 1.0, 0.5, 0.62)
    shade(w.rgb, 0.45 * smooth(-0.18, 0.0, -(w.y + 0.42)) * smooth(-0.1, 0.3, w.y + 0.52) * w.mask)
    dome = ellipse(across, w.Y, 0.0, -0.3, 1.14, 0.88)
    kind = int(t.hat)
    (_beanie, _cap, _brimmed)[kind - 1](w, across, dome, colour)


def _lay(w: View, shape: Array, colour: Colour, light: Array) -> None:
    alpha = cover(shape)
    paint(w.rgb, alpha, np.array(colour, np.float32)[:, None, None] * at_least(light, 0.25))
    w.mask[:] *= 1.0 - alpha


def _light(w: View, across: Array) -> Array:
    t, p = w.traits, w.pose
    return (0.86 + 0.42 * p.light[0] * across - 0.28 * (w.Y + 0.7)) * (0.75 + 0.35 * t.light_strength)


def _beanie(w: View, across: Array, dome: Array, colour: Colour) -> None:
    knit = 0.06 * wave(w.x * 6.0)
    edge = w.y + 0.40 - 0.06 * w.x * w.x
    _lay(w, np.maximum(dome, edge), colour, _light(w, across) + knit)
    rim = ellipse(across, w.Y, 0.0, -0.3, 1.19, 0.92)
    _lay(w, np.maximum(rim, np.abs(edge + 0.13) - 0.15), scaled(colour, 1.18), _light(w, across) + 2.0 * knit)


def _cap(w: View, across: Array, dome: Array, colour: Colour) -> None:
    edge = w.y + 0.44 - 0.05 * w.x * w.x
    seam = 0.1 * smooth(-0.03, 0.0, -np.abs(w.x))
    _lay(w, np.maximum(dome, edge), colour, _light(w, across) - seam)
    visor = ellipse(w.X - 0.5 * w.pose.sin_yaw, w.Y, 0.0, -0.42 + 0.3 * w.pose.sin_pitch, 0.98, 0.19)
    arched = np.maximum(visor, -ellipse(w.X - 0.5 * w.pose.sin_yaw, w.Y, 0.0, -0.12, 0.98, 0.3))
    _lay(w, arched, scaled(colour, 0.72), _light(w, across) + 0.1)


def _brimmed(w: View, across: Array, dome: Array, colour: Colour) -> None:
    _lay(w, np.maximum(ellipse(across, w.Y, 0.0, -0.42, 0.98, 0.78), w.Y + 0.42), colour, _light(w, across))
    band = np.maximum(ellipse(across, w.Y, 0.0, -0.42, 1.0, 0.8), np.abs(w.Y + 0.66) - 0.09)
    _lay(w, band, scaled(colour, 0.45), _light(w, across))
    brim = ellipse(across, w.Y - 0.10 * across * across, 0.0, -0.50, 1.66, 0.15)
    _lay(w, brim, scaled(colour, 0.92), _light(w, across * 0.6) + 0.12)
