"""What stands behind and below a face: background, shoulders, neck."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import Array, Colour, at_least, cover, ellipse, hued, mix, paint, scaled, shade, smooth, wave
from ablation.data.faces.view import View, skin_colour


def background(v: View) -> None:
    """Fill the picture: a lit wall, with discs, stripes or panels on three quarters of the patterns."""
    t = v.traits
    base = hued(t.background_hue, 0.44 - 0.2 * t.background_tone, 0.16 + 0.76 * t.background_tone)
    second = hued((t.background_hue + 0.11) % 1.0, 0.45, 0.3 + 0.5 * t.background_tone)
    v.rgb[:] = np.array(base, np.float32)[:, None, None]
    paint(v.rgb, smooth(-1.4, 1.4, v.screen_y + (t.light_direction - 0.5) * v.screen_x), scaled(base, 0.62))
    quarter = min(int(4.0 * t.background_pattern), 3)
    place = 4.0 * t.background_pattern - quarter
    (_gradient, _discs, _stripes, _panels)[quarter](v, second, place)


def _gradient(v: View, second: Colour, place: float) -> None:
    """A patch of light that wanders along the top."""
    x, y = v.screen_x - (2.0 * place - 1.0), v.screen_y + 0.5
    paint(v.rgb, 0.75 * smooth(-1.0, 0.0, -(x * x + y * y)), mix(second, (1.0, 1.0, 1.0), 0.25))


def _discs(v: View, second: Colour, place: float) -> None:
    """Lights out of focus."""
    for number in range(7):
        across = (0.37 * number + place) % 1.0 * 2.6 - 1.3
        # spread over the height without repeating
        radius = 0.16 + 0.11 * (number * 0.618 % 1.0)
        height = (number * 0.618 + 0.3 * place) % 1.0 * 1.9 - 1.0
        colour = mix(second, (1.0, 0.95, 0.85), 0.15 * (number % 4))
        paint(v.rgb, 0.6 * smooth(-0.25, 0.0, -ellipse(v.screen_x, v.screen_y, across, height, radius, radius)), colour)


def _stripes(v: View, second: Colour, place: float) -> None:
    """Slanted stripes, as of a curtain or a poster."""
    slanted = v.screen_x + (place - 0.5) * v.screen_y
    paint(v.rgb, 0.65 * smooth(-0.25, 0.25, wave(slanted * (1.1 + place) + place)), second)


def _panels(v: View, second: Colour, place: float) -> None:
    """A door or window: upright and level edges."""
    edge = 1.5 * place - 0.75
    side = v.screen_x - edge
    paint(v.rgb, cover(-side), second)
    paint(v.rgb, 0.8 * smooth(-0.05, 0.0, -np.abs(side)), scaled(second, 0.5))
    paint(v.rgb, 0.5 * cover(np.maximum(v.screen_y + 0.35 - 0.5 * place, side)), mix(second, (1.0, 1.0, 1.0), 0.5))


def body(v: View) -> None:
    """Neck and clothed shoulders; they follow the head's place but not its tilt."""
    p = v.pose
    _neck(v.rows(p.centre_y + 0.3 * p.half_height))
    _clothes(v.rows(p.centre_y + 0.8 * p.half_height))


def _body_axes(v: View) -> tuple[Array, Array, Array]:
    """Distance from the middle, height, and the light from the side."""
    p = v.pose
    x = (v.screen_x - p.centre_x * 0.85) * (1.0 / p.half_width)
    y = (v.screen_y - p.centre_y) * (1.0 / p.half_height)
    return np.abs(x), y, at_least(0.9 + 0.35 * p.light[0] * x, 0.25)


def _neck(v: View) -> None:
    t = v.traits
    across, y, lit = _body_axes(v)
    half = 0.5 + 0.13 * t.masculinity
    flare = at_least(y - 0.95, 0)
    alpha = cover(np.maximum(across - half - 1.6 * flare * flare, 0.3 - y))
    lit *= (0.72 + 0.28 * t.light_strength) * (1.0 - 0.28 * smooth(0.2, half, across))
    colours = np.array(skin_colour(t), np.float32)[:, None, None] * lit
    shade(colours, 0.5 * smooth(-1.5, -0.95, -y), (0.8, 1.0, 1.0))
    paint(v.rgb, alpha, colours)


def _clothes(v: View) -> None:
    t = v.traits
    across, y, lit = _body_axes(v)
    cloth = hued(t.clothing_hue, 0.55, 0.45 + 0.4 * t.light_strength)
    slope = 1.07 - 0.05 * t.masculinity + 0.12 * across * across / (0.35 + across)
    neckline = ellipse(across, y, 0.0, 0.98, 0.62 + 0.06 * t.masculinity, 0.42 - 0.2 * t.masculinity)
    colours = np.array(cloth, np.float32)[:, None, None] * (0.55 + 0.5 * lit)
    paint(v.rgb, cover(np.maximum(slope - y, -neckline)), colours)
    paint(v.rgb, 0.6 * cover(np.maximum(np.abs(neckline - 0.12) - 0.09, slope - y)), scaled(cloth, 0.55))
