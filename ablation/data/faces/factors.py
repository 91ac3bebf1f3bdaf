"""The factors that make a rendered face, what follows from them, and attributes in CelebA's manner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blocks.errors import must_be


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One independent factor of variation."""

    name: str
    meaning: str
    levels: int = 0  # 0: continuous, uniform in [0, 1]; otherwise whole numbers from 0 to levels - 1
    odds: tuple[float, ...] = ()  # probability of each level

    @property
    def low(self) -> float:
        """Smallest value."""
        return 0.0

    @property
    def high(self) -> float:
        """Largest value."""
        return float(max(self.levels - 1, 1))

    def holds(self, value: float) -> bool:
        """Whether this is one of the factor's values."""
        return self.low <= value <= self.high and (not self.levels or value.is_integer())

    def of(self, uniform: float) -> float:
        """The value that a uniform number in [0, 1) stands for."""
        if not self.levels:
            return uniform
        return float(sum(uniform >= sum(self.odds[: level + 1]) for level in range(self.levels - 1)))


def _factor(name: str, meaning: str, *odds: float) -> Factor:
    return Factor(name=name, meaning=meaning, levels=len(odds), odds=odds)


FACTORS: tuple[Factor, ...] = (
    _factor("masculinity", "feminine to masculine: jaw, brows, neck, lashes, hair; above 0.5 facial hair shows, below it make-up"),
    _factor("age", "young to old: wrinkles above 0.15, grey hair above 0.65"),
    _factor("skin_tone", "light to dark"),
    _factor("face_width", "narrow to wide"),
    _factor("jaw_width", "pointed to square"),
    _factor("hair_colour", "black, brown, auburn, blond"),
    _factor("hair_length", "bald or cropped to below the shoulders; masculine hair is shorter"),
    _factor("hair_curl", "straight to curly"),
    _factor("bangs", "high hairline to a full fringe"),
    _factor("parting", "where the hair parts, left to right"),
    _factor("eye_colour", "dark brown, hazel, green, blue, grey"),
    _factor("eye_size", "small to large"),
    _factor("eye_spacing", "close to wide set"),
    _factor("eye_openness", "narrow to wide open"),
    _factor("gaze", "looks left to right"),
    _factor("brow_thickness", "thin to bushy"),
    _factor("brow_slant", "worried to stern"),
    _factor("nose_size", "small to big"),
    _factor("lip_fullness", "thin to full"),
    _factor("smile", "frown to smile"),
    _factor("mouth_open", "closed below 0.45, then open"),
    _factor("facial_hair", "none, stubble, moustache, goatee, beard; shows from masculinity 0.5", 0.36, 0.2, 0.12, 0.12, 0.2),
    _factor("make_up", "none to strong lipstick and eye shadow; shows below masculinity 0.5"),
    _factor("earrings", "none below 0.65, then larger"),
    _factor("glasses", "none, round, rectangular, sunglasses", 0.72, 0.09, 0.1, 0.09),
    _factor("hat", "none, beanie, cap, brimmed", 0.85, 0.05, 0.05, 0.05),
    _factor("yaw", "turned left to right"),
    _factor("pitch", "looks up to down"),
    _factor("roll", "tilted left to right"),
    _factor("scale", "far to near"),
    _factor("shift", "placed left to right"),
    _factor("light_direction", "lit from the left to from the right"),
    _factor("light_strength", "dim to bright"),
    _factor("background_hue", "once around the colour circle"),
    _factor("background_tone", "dark to light"),
    _factor("background_pattern", "quarters: gradient, discs, stripes, panels; the place within a quarter moves them"),
    _factor("clothing_hue", "once around the colour circle; also hat and frames"),
)
FACTOR_NAMES: tuple[str, ...] = tuple(factor.name for factor in FACTORS)


def sample_factors(index: int, seed: int) -> NDArray[np.float32]:
    """Factors of face number `index` of the series `seed`: float32 F.

    Each face has its own PCG64 stream and takes raw 64-bit words from it, which numpy keeps the same in every version.
    """
    for parameter, value in (("index", index), ("seed", seed)):
        if value < 0:
            raise must_be(parameter, "zero or a positive whole number", value)
    words = np.random.PCG64(np.random.SeedSequence([seed, index])).random_raw(len(FACTORS))
    # 24 bits, so that float32 holds them exactly and 1.0 never occurs
    uniforms = [int(word >> np.uint64(40)) / 2**24 for word in words]
    return np.array([factor.of(uniform) for factor, uniform in zip(FACTORS, uniforms, strict=True)], np.float32)


def _ramp(low: float, high: float, value: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


class Traits:
    """One face's factors by name, `traits.smile` and so on, and what follows from several of them together."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float:
            """The factor of that name, one of FACTOR_NAMES."""

    def __init__(self, **factors: float) -> None:
        vars(self).update(factors)

    @classmethod
    def of(cls, factors: NDArray[np.float32]) -> Traits:
        """From one row of factors, checked."""
        if np.shape(factors) != (len(FACTORS),):
            raise must_be("factors", f"one row of {len(FACTORS)} numbers", np.shape(factors))
        for factor, value in zip(FACTORS, factors, strict=True):
            if not factor.holds(float(value)):
                kind = "a whole number " if factor.levels else ""
                raise must_be(factor.name, f"{kind}from {factor.low:g} to {factor.high:g}", float(value))
        return cls(**dict(zip(FACTOR_NAMES, (float(value) for value in factors), strict=True)))

    @property
    def hair(self) -> float:
        """Length as drawn: 0 bald, 0.1 cropped, 0.3 short, 0.55 to the jaw, 1 below the shoulders."""
        feminine, masculine = 0.22 + 0.8 * self.hair_length, 0.62 * self.hair_length
        return min(1.0, feminine + (masculine - feminine) * _ramp(0.3, 0.6, self.masculinity))

    @property
    def bald(self) -> bool:
        """No hair on the head."""
        return self.hair < 0.06

    @property
    def grey(self) -> float:
        """How far the hair has turned grey."""
        return _ramp(0.65, 0.95, self.age)

    @property
    def wrinkles(self) -> float:
        """Strength of the lines of age."""
        return _ramp(0.15, 1.0, self.age)

    @property
    def beard_style(self) -> int:
        """0 none, 1 stubble, 2 moustache, 3 goatee, 4 beard, as drawn."""
        return int(self.facial_hair) if self.masculinity >= 0.5 else 0

    @property
    def painted(self) -> float:
        """Strength of the make-up, as drawn."""
        return self.make_up if self.masculinity < 0.5 else 0.0

    @property
    def mouth_gap(self) -> float:
        """How far the lips stand apart."""
        return _ramp(0.45, 1.0, self.mouth_open)

    @property
    def earring_size(self) -> float:
        """0 for none."""
        return 0.4 + 0.6 * _ramp(0.65, 1.0, self.earrings) if self.earrings > 0.65 else 0.0


def _haired(low: float, high: float) -> Callable[[Traits], bool]:
    return lambda t: not t.bald and t.grey < 0.5 and low <= t.hair_colour < high


_RULES: dict[str, Callable[[Traits], bool]] = {
    "Arched_Eyebrows": lambda t: t.brow_slant > 0.6 and t.masculinity < 0.5,
    "Bald": lambda t: t.bald,
    "Bangs": lambda t: t.bangs > 0.7 and t.hair > 0.16,
    "Big_Lips": lambda t: t.lip_fullness > 0.65,
    "Big_Nose": lambda t: t.nose_size > 0.65,
    "Black_Hair": _haired(0.0, 0.25),
    "Blond_Hair": _haired(0.75, 1.01),
    "Brown_Hair": _haired(0.25, 0.6),
    "Bushy_Eyebrows": lambda t: t.brow_thickness > 0.65,
    "Chubby": lambda t: t.face_width > 0.7 and t.jaw_width > 0.5,
    "Eyeglasses": lambda t: t.glasses > 0,
    "Goatee": lambda t: t.beard_style == 3,
    "Gray_Hair": lambda t: not t.bald and t.grey >= 0.5,
    "Heavy_Makeup": lambda t: t.painted > 0.7,
    "Male": lambda t: t.masculinity >= 0.5,
    "Mouth_Slightly_Open": lambda t: t.mouth_open > 0.55,
    "Mustache": lambda t: t.beard_style in (2, 4),
    "Narrow_Eyes": lambda t: t.eye_openness < 0.3,
    "No_Beard": lambda t: t.beard_style == 0,
    "Oval_Face": lambda t: t.face_width < 0.6 and t.jaw_width < 0.5,
    "Pale_Skin": lambda t: t.skin_tone < 0.15,
    "Rosy_Cheeks": lambda t: t.painted > 0.5,
    "Smiling": lambda t: t.smile > 0.55,
    "Straight_Hair": lambda t: not t.bald and t.hair_curl < 0.35,
    "Wavy_Hair": lambda t: not t.bald and t.hair_curl > 0.6,
    "Wearing_Earrings": lambda t: t.earring_size > 0,
    "Wearing_Hat": lambda t: t.hat > 0,
    "Wearing_Lipstick": lambda t: t.painted > 0.35,
    "Young": lambda t: t.age < 0.6,
}
ATTRIBUTE_NAMES: tuple[str, ...] = tuple(_RULES)


def derive_attributes(factors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Attributes (uint8 N x A, in the order of ATTRIBUTE_NAMES) of faces with these factors (N x F)."""
    rows = [[rule(traits) for rule in _RULES.values()] for traits in map(Traits.of, factors)]
    return np.array(rows, np.uint8).reshape(len(factors), len(_RULES))
