"""Where a face stands in the picture: pose, coordinates, light, and windows that hold one feature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ablation.data.faces.draw import Array, Colour, along, at_least, mix, octet
from ablation.data.faces.factors import Traits

DEPTH = 0.78  # how fast the head falls away from the viewer along its height; the chin stays in front of the outline

SKIN = (
    octet(252, 226, 208), octet(240, 198, 166), octet(218, 166, 126), octet(172, 118, 82), octet(120, 78, 54), octet(92, 60, 46),
)  # fmt: skip
HAIR = (octet(26, 22, 24), octet(52, 35, 28), octet(98, 62, 38), octet(142, 66, 34), octet(178, 130, 76), octet(232, 198, 132))
GREY_HAIR = octet(196, 194, 192)


def sine(angle: float) -> float:
    """Sine of a small angle in radians by its series: the same on every machine, unlike the C library's."""
    square = angle * angle
    return angle * (1.0 - square / 6.0 * (1.0 - square / 20.0))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Placement of the head; lengths in half picture widths."""

    half_width: float
    half_height: float
    centre_x: float
    centre_y: float
    sin_yaw: float
    cos_yaw: float
    sin_pitch: float
    cos_pitch: float
    sin_roll: float
    cos_roll: float
    light: tuple[float, float, float]

    @classmethod
    def of(cls, t: Traits) -> Pose:
        """From factors."""
        scale = 0.94 + 0.22 * t.scale
        yaw, pitch, roll = (sine(limit * (2.0 * value - 1.0)) for limit, value in ((0.42, t.yaw), (0.2, t.pitch), (0.2, t.roll)))
        across = 1.5 * t.light_direction - 0.75
        length = math.sqrt(across * across + 0.5 * 0.5 + 0.7 * 0.7)
        return cls(
            half_width=scale * (0.415 + 0.075 * t.face_width + 0.01 * t.masculinity),
            half_height=scale * (0.63 - 0.02 * t.face_width),
            centre_x=0.24 * (t.shift - 0.5),
            centre_y=0.055,
            sin_yaw=yaw,
            cos_yaw=math.sqrt(1.0 - yaw * yaw),
            sin_pitch=pitch,
            cos_pitch=math.sqrt(1.0 - pitch * pitch),
            sin_roll=roll,
            cos_roll=math.sqrt(1.0 - roll * roll),
            light=(across / length, -0.5 / length, 0.7 / length),
        )

    @property
    def aspect(self) -> float:
        """Length of one unit across in units of height."""
        return self.half_width / self.half_height

    def to_plane(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frontal face comes to lie on the head's plane."""
        z = math.sqrt(max(1.0 - x * x - DEPTH * y * y, 0.0))
        return x * self.cos_yaw + z * self.sin_yaw, y * self.cos_pitch + z * self.sin_pitch


@dataclass(frozen=True, kw_only=True)
class View:
    """A window of the picture with its coordinates; every array is H x W (rgb: 3 x H x W).

    rgb, mask and lit are the whole picture's own memory: to write into a window is to write into the picture.

    X, Y: the head's plane, upright with the head; the outline lies near +-1. x, y: the frontal face wrapped around the head,
    so that a feature drawn there turns with the pose. screen_x, screen_y: -1 to 1 over the picture.
    """

    traits: Traits
    pose: Pose
    step: float  # distance of two samples on the screen
    rgb: Array
    mask: Array
    lit: Array  # brightness of the skin by light alone; features on it use the same
    screen_x: Array
    screen_y: Array
    X: Array
    Y: Array
    x: Array
    y: Array

    @classmethod
    def whole(cls, t: Traits, num_samples: int) -> View:
        """An empty picture of num_samples x num_samples."""
        p = Pose.of(t)
        line = (np.arange(num_samples, dtype=np.float32) + 0.5) * (2.0 / num_samples) - 1.0
        right, down = line[None, :] - p.centre_x, line[:, None] - p.centre_y
        X = (right * p.cos_roll + down * p.sin_roll) * (1.0 / p.half_width)
        Y = (down * p.cos_roll - right * p.sin_roll) * (1.0 / p.half_height)
        Z = np.sqrt(at_least(1.0 - X * X - DEPTH * (Y * Y), 0))
        forward = X * p.sin_yaw + Z * p.cos_yaw
        shape = (num_samples, num_samples)
        return cls(
            traits=t,
            pose=p,
            step=2.0 / num_samples,
            rgb=np.empty((3, *shape), np.float32),
            mask=np.zeros(shape, np.float32),
            lit=np.ones(shape, np.float32),
            screen_x=np.broadcast_to(line[None, :], shape),
            screen_y=np.broadcast_to(line[:, None], shape),
            X=X,
            Y=Y,
            x=X * p.cos_yaw - Z * p.sin_yaw,
            y=Y * p.cos_pitch - forward * p.sin_pitch,
        )

    def window(self, left: float, right: float, top: float, bottom: float) -> View:
        """The part of a whole picture that holds a rectangle of the head's plane, with a margin of two samples."""
        p, n = self.pose, self.X.shape[0]
        corners = [(X * p.half_width, Y * p.half_height) for X in (left, right) for Y in (top, bottom)]
        across = [p.centre_x + X * p.cos_roll - Y * p.sin_roll for X, Y in corners]
        down = [p.centre_y + X * p.sin_roll + Y * p.cos_roll for X, Y in corners]
        bounds = [self._samples(values, n) for values in (down, across)]
        return self._part((slice(*bounds[0]), slice(*bounds[1])))

    @staticmethod
    def _samples(values: list[float], n: int) -> tuple[int, int]:
        first = min(max(int((min(values) + 1.0) * n / 2.0) - 2, 0), n - 4)
        # never empty: a feature just outside still gets a sliver, which its shape leaves untouched
        last = max(min(int((max(values) + 1.0) * n / 2.0) + 3, n), first + 4)
        return first, last

    def rows(self, first: float) -> View:
        """The picture from screen height `first` (-1 to 1) downwards."""
        n = self.X.shape[0]
        part = slice(min(max(int((first + 1.0) * n / 2.0), 0), n - 4), n)
        return self._part((part, slice(0, n)))

    def _part(self, part: tuple[slice, slice]) -> View:
        shared = {name: getattr(self, name)[part] for name in ("mask", "lit", "screen_x", "screen_y")}
        # coordinates are read often and never written: in one piece they are read twice as fast
        copied = {name: np.ascontiguousarray(getattr(self, name)[part]) for name in ("X", "Y", "x", "y")}
        return View(traits=self.traits, pose=self.pose, step=self.step, rgb=self.rgb[(slice(None), *part)], **shared, **copied)

    def across(self, y: float, half: float, radius_y: float) -> View:
        """The window around both points (-half, y) and (half, y) of the frontal face."""
        (left, one), (right, other) = self.pose.to_plane(-half, y), self.pose.to_plane(half, y)
        middle = self.pose.to_plane(0.0, y)[1]
        # the edges of the face stand still when it nods, its middle moves
        heights = (one, other, middle)
        return self.window(min(left, -half), max(right, half), min(heights) - radius_y, max(heights) + radius_y)

    def around(self, x: float, y: float, radius_x: float, radius_y: float) -> View:
        """The window around a point of the frontal face."""
        X, Y = self.pose.to_plane(x, y)
        return self.window(X - radius_x, X + radius_x, Y - radius_y, Y + radius_y)


def skin_colour(t: Traits) -> Colour:
    """Colour of the lit skin; age pales it a little."""
    base = along(SKIN, t.skin_tone)
    grey = sum(base) / 3.0
    return mix(base, (grey, grey, grey), 0.12 * t.wrinkles)


def hair_colour(t: Traits) -> Colour:
    """Colour of the hair, greyed by age."""
    return mix(along(HAIR, t.hair_colour), GREY_HAIR, 0.9 * t.grey)
