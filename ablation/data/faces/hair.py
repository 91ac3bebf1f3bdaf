"""Hair behind and in front of the head."""

from __future__ import annotations

import numpy as np

from ablation.data.faces.draw import Array, at_least, at_most, bump, cover, shade, smooth, wave
from ablation.data.faces.factors import Traits
from ablation.data.faces.view import View, hair_colour

CROWN_Y = -0.2
SHORT = 0.34  # hair longer than this falls beside the face


def _volume(t: Traits) -> float:
    # cropped hair lies flat on the skull
    loose = min(1.0, max(0.0, (t.hair - 0.09) * 9.0))
    return loose * (0.07 + 0.07 * min(1.0, 2.0 * t.hair) + 0.13 * t.hair_curl)


def _bottom(t: Traits) -> float:
    """How far down the hair falls on the head's plane."""
    return 0.02 + 0.2 * t.hair if t.hair < SHORT else 0.2 + 2.7 * (t.hair - SHORT)


def across_skull(v: View) -> Array:
    """X on the skull, which lies behind the face and so moves against a turn."""
    return v.X + 0.14 * v.pose.sin_yaw


def _curl(t: Traits) -> float:
    return max(0.0, t.hair_curl - 0.3) * min(1.0, t.hair * 3.0)


def _outer(v: View, across: Array) -> Array:
    """Outer shape of all hair: the mass on the skull, and what falls beside the face once it is long."""
    t = v.traits
    short, bottom, volume = t.hair < SHORT, _bottom(t), _volume(t)
    half = 1.01 + (0.35 if short else 0.75) * volume
    down = v.Y - CROWN_Y
    lean = across + (0.35 * (t.parting - 0.5) if short else 0.0) * at_most(down + 0.3, 0)
    u, h = lean * (1.0 / half), down * (1.0 / (0.83 + (1.3 if short else 1.0) * volume))
    crown = u * u + h * h - 1.0
    if _curl(t):
        # a diamond's angle, which needs no arctangent
        angle = across / (np.abs(across) + np.abs(down) + 0.02)
        crown += 0.11 * _curl(t) * wave(angle * 4.5 + 0.2)
    if short:
        return np.maximum(crown, v.Y - bottom)
    side = np.abs(across)
    width = half + (0.08 + 0.12 * t.hair_curl) * smooth(0.0, 1.3, v.Y) + 0.09 * _curl(t) * wave(v.Y * 2.3)
    # they curve in towards the neck
    ends = v.Y - bottom - 0.3 + 0.25 * side * side + 0.03 * wave(across * 3.7 + t.parting)
    return np.minimum(crown, np.maximum(np.maximum(side - width, CROWN_Y - v.Y), ends))


def _face_opening(v: View) -> Array:
    """The part of the face that hair leaves free: below the hairline, between the sides."""
    t = v.traits
    fringe = min(1.0, max(0.0, (t.bangs - 0.5) * 2.2)) * min(1.0, max(0.0, (t.hair - 0.1) * 8.0))
    off = v.x - 1.1 * (t.parting - 0.5)
    side = np.abs(v.x)
    recede = 0.08 * (0.5 - min(t.bangs, 0.5)) * (1.0 + t.masculinity)
    corner = at_least(side - 0.52, 0)
    swept = -0.62 - recede + (0.16 + 0.34 * min(1.0, t.hair * 1.5)) * off * off / (0.3 + np.abs(off)) + 1.5 * corner * corner
    comb = wave(v.x * 2.6 + 0.3 * t.parting)
    strands = (0.008 + 0.034 * fringe) * comb * (0.6 + 0.4 * wave(v.x * 6.7 + 0.4 * comb))
    line = swept + fringe * (-0.2 + 0.12 * v.x * v.x - swept) + strands
    if t.hair < SHORT:
        sides = 0.88 + 0.14 * smooth(-0.3, _bottom(t), v.Y)
    else:
        sides = 0.83 - 0.1 * smooth(0.4, 1.1, v.Y) + 0.04 * _curl(t) * wave(v.Y * 3.1)
    return np.maximum(line - v.y, side - sides)


def _strands(v: View, across: Array) -> tuple[Array, Array]:
    """Light and dark strands that run from the parting (about -1..1), and where the crown shines (0..1)."""
    t = v.traits
    from_part, down = across - 0.7 * (t.parting - 0.5), v.Y + (1.18 + _volume(t))
    angle = from_part / (np.abs(from_part) + np.abs(down) + 0.1)
    reach = from_part * from_part * 0.75 + down * down
    waved = t.hair_curl * wave(reach * 1.5 + 0.4 * across)
    fall = smooth(-0.5, 0.25, v.Y)
    place = angle * 5.0 * (1.0 - fall) + across * 3.2 * fall + 0.22 * waved
    strand = 0.6 * wave(place) * (0.5 + 0.5 * wave(place * 0.37 + 0.3)) + 0.5 * wave(place * 2.7 + 0.1)
    band = reach - (0.4 + 0.5 * _volume(t)) - 0.05 * strand
    gloss = bump(band * band * 16.0) + 0.35 * t.hair_curl * fall * at_least(waved, 0)
    return strand, gloss


def _paint(v: View, across: Array, alpha: Array) -> None:
    """Lay strands with a band of gloss, lit from the side, where alpha covers."""
    t, p = v.traits, v.pose
    strand, gloss = _strands(v, across)
    light = (0.78 + 0.36 * p.light[0] * across - 0.16 * (v.Y - CROWN_Y)) + 0.11 * strand
    light = at_least(light * (0.74 + 0.36 * t.light_strength), 0.18)
    shine = (0.08 + 0.12 * t.light_strength) * gloss * (0.75 + 0.25 * strand)
    for channel, base in zip(v.rgb, hair_colour(t), strict=True):
        channel += alpha * (base * light + (0.35 + 0.65 * base) * shine - channel)


def hair_behind(v: View) -> None:
    """Long hair that hangs behind neck and shoulders, in the head's shade."""
    t = v.traits
    if t.hair < SHORT:
        return
    w = v.window(-1.7, 1.7, -0.45, min(_bottom(t) + 0.5, 1.9))
    across = across_skull(w)
    tone = (0.38 + 0.12 * t.light_strength) * (1.0 + 0.12 * wave(across * 5.0 + 0.2 * t.hair_curl * wave(w.Y * 2.0)))
    # higher up, the hair in front hides it
    alpha = cover(np.maximum(_outer(w, across), -0.45 - w.Y))
    for channel, base in zip(w.rgb, hair_colour(t), strict=True):
        channel += alpha * (base * tone - channel)


def hair_in_front(v: View) -> None:
    """Hair on the skull, its fringe and sides, with the shadow it throws on the face."""
    t = v.traits
    if t.bald:
        return
    wide = 1.35 if t.hair < SHORT else 1.6
    w = v.window(-wide, wide, -1.45, min(_bottom(t) + 0.45, 1.9))
    across = across_skull(w)
    opening, outer = _face_opening(w), _outer(w, across)
    if t.hat:
        outer = np.maximum(outer, -0.45 - w.Y)
    # cropped hair lets the scalp shine through
    strength = min(1.0, 0.25 + 3.5 * (t.hair - 0.06))
    shade(w.rgb, 0.4 * strength * smooth(-0.17, 0.0, opening) * w.mask, (0.8, 1.0, 1.0))
    alpha = strength * cover(np.maximum(outer, -opening))
    if strength < 1.0:
        alpha *= w.mask
    _paint(w, across, alpha)
    w.mask[:] *= 1.0 - alpha
