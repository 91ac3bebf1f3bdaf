"""Rendered faces in batches that hold one factor still, for the FactorVAE score; and the factors that disentanglement is about.

The score needs many batches of many faces: 915 of 61 would be 55,815 faces. Here 3,721 serve, because each face stands in one
batch of every factor: the factors of all faces form an orthogonal array (Bush 1952; Owen 1992 and Tang 1993 sample by such
arrays). With p levels, p prime, face (i, j) has level (i + k j) mod p of factor k, so that two factors show each of their p x p
pairs of levels exactly once. Hence the p faces that share a level of one factor show every level of each other factor once, and
the p x F such batches are the votes. Levels are shuffled factor by factor, else neighbouring factors would run in step. All that
is not measured varies as it does in the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablation.data.faces.rendered import FACTOR_NAMES, render, sample_factors
from blocks.errors import choices, must_be

# All are continuous, drawn independently, run along a line and show on every face: at 48 px, on each of 200 faces, each third of
# such a factor's range changes the picture by 0.02 grey levels of 255 or more, averaged over all pixels (most by 1 to 20). The
# others: age, hair_colour, hair_curl, bangs, parting, facial_hair, make_up, earrings and mouth_open show on some faces only, or
# over part of their range; sunglasses and fringes hide eye_colour, eye_size, eye_openness, gaze and brows; nose and lips fall
# below 0.02 on some; glasses, hat and background_pattern are kinds without an order; the two hues run in a circle, which no
# single dimension can hold.
MEASURED = (
    "masculinity", "skin_tone", "face_width", "jaw_width", "hair_length", "eye_spacing", "smile", "yaw", "pitch", "roll", "scale",
    "shift", "light_direction", "light_strength", "background_tone",
)  # fmt: skip
BATCH_SIZE = 61
SERIES = 1_000_003  # added to the seed: the nuisances are not those of the data set's own faces


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorBatches:
    """Faces, and the batches of them in which one factor stands still."""

    images: NDArray[np.uint8]  # n x 3 x S x S, n = batch squared
    factors: NDArray[np.float32]  # n x 37, in the order of FACTORS
    members: NDArray[np.int64]  # votes x batch, numbers of faces
    fixed_factor: NDArray[np.int64]  # votes, numbers into `factor_names`
    factor_names: tuple[str, ...]

    def of_votes(self, codes: ArrayLike) -> NDArray[np.float64]:
        """The codes of each batch (votes x batch x D) from those of `images` (n x D)."""
        table = np.asarray(codes, np.float64)
        if table.ndim != 2 or len(table) != len(self.images):
            raise must_be("codes", f"{len(self.images)} rows, one for each image", table.shape)
        return np.asarray(table[self.members])


def measured(factors: ArrayLike, factor_names: Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The columns of N x F named factors that are in MEASURED, and their names."""
    table = np.asarray(factors, np.float64)
    if table.ndim != 2 or table.shape[1] != len(factor_names):
        raise must_be("factors", f"a table of {len(factor_names)} columns", table.shape)
    columns = [number for number, name in enumerate(factor_names) if name in MEASURED]
    if not columns:
        raise must_be("factor_names", f"those of rendered faces, such as {MEASURED[0]}", list(factor_names))
    return table[:, columns], tuple(factor_names[number] for number in columns)


def factor_batches(
    batch_size: int = BATCH_SIZE, image_size: int = 48, seed: int = 0, *, factor_names: Sequence[str] = MEASURED
) -> FactorBatches:
    """Render batch_size squared faces: batch_size x len(factor_names) votes. batch_size is prime. Same seed, same bytes.

    One core draws 3,721 faces at 48 px in 11 to 14 s (961 of batches of 31 in 3 to 4), at 144 px in about 32 s.
    The score of fixed encoders, mean +- standard deviation over 16 seeds of the batches (40 dimensions, simulated, 15 factors):
      batches of 17: 0.18 +- 0.03;  31: 0.34 +- 0.02;  43: 0.41 +- 0.01;  61: 0.49 +- 0.01 (a second encoder: 0.22 +- 0.01)
      independent faces, 900 votes of 61 (54,900 faces): 0.48 +- 0.01 (0.22 +- 0.01);  60 votes of 61 (3,660): 0.25 +- 0.07
    so the array gives what fifteen times as many independent faces give, and scores of different batch sizes do not compare.
    """
    rows, members = design(batch_size, seed, factor_names)
    images = np.empty((len(rows), 3, image_size, image_size), np.uint8)
    for number, row in enumerate(rows):
        images[number] = render(row, image_size)[0]
    fixed = np.repeat(np.arange(len(factor_names)), batch_size)
    return FactorBatches(images=images, factors=rows, members=members, fixed_factor=fixed, factor_names=tuple(factor_names))


def design(batch_size: int, seed: int, factor_names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Factors of all faces (n x 37), and the faces of each vote (votes x batch), factor by factor."""
    _check(batch_size, seed, factor_names)
    p, num_factors = batch_size, len(factor_names)
    first, second = np.divmod(np.arange(p * p), p)
    levels = (first[:, None] + second[:, None] * np.arange(num_factors)) % p  # n x F
    rows = np.stack([sample_factors(index, seed + SERIES) for index in range(p * p)])
    words = np.random.PCG64(np.random.SeedSequence([seed, SERIES]))  # raw words are the same in every version of numpy
    for number, name in enumerate(factor_names):
        shuffled = np.argsort(words.random_raw(p), kind="stable")
        rows[:, FACTOR_NAMES.index(name)] = (shuffled[levels[:, number]] + 0.5) / p
    members = np.argsort(levels.T, axis=1, kind="stable").reshape(num_factors * p, p)
    return rows, members


def _check(batch_size: int, seed: int, factor_names: Sequence[str]) -> None:
    if seed < 0:
        raise must_be("seed", "zero or a positive whole number", seed)
    if wrong := [name for name in factor_names if name not in MEASURED]:
        raise must_be("factor_names", choices(MEASURED), wrong[0])
    if not factor_names or len(set(factor_names)) < len(factor_names):
        raise must_be("factor_names", "different names, one or more", list(factor_names))
    prime = batch_size > 1 and all(batch_size % number for number in range(2, int(batch_size**0.5) + 1))
    if not prime or batch_size < len(factor_names):
        raise must_be("batch_size", f"a prime of {len(factor_names)} or more, as many as there are factors", batch_size)
