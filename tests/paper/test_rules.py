"""What the rules are made of: intervals, sides, shares, pieces and numbers, against hand derivation and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablation.record.attribution import Effect
from ablation.stats import mean_estimate
from studies.paper.rules import pieces as rules_pieces
from studies.paper.rules.compared import Compared, quotient
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, agreed, all_of, from_side
from studies.paper.rules.numbers import plain, spanned


def test_interval_is_student_s_t() -> None:
    values = (0.31, 0.36, 0.29, 0.33)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    mean = mean_estimate(values)
    assert mean.low == pytest.approx(low, rel=1e-5) and mean.high == pytest.approx(high, rel=1e-5)


def test_sides_by_hand() -> None:
    wide = Compared(label="x", values=(1.0, 2.0, 3.0))  # 2 ± 4.303 / √3: includes 0
    narrow = Compared(label="x", values=(1.9, 2.0, 2.1))  # 2 ± 0.248
    assert (wide.side(), narrow.side(), narrow.side(1.7), narrow.side(1.8), narrow.side(2.3)) == (0, 1, 1, 0, -1)
    assert "includes zero" in wide.doubt() and narrow.doubt() == ""
    two = Compared(label="x", values=(2.0, 2.0001))
    assert two.side() == 0 and "2 seeds" in two.doubt()


def test_images_must_agree() -> None:
    seeds = (1.9, 2.0, 2.1)  # standard error 0.058
    few, many = (2.0 + np.array([-3.0, 3.0] * half) for half in (10, 100))  # 0.69 and 0.21
    assert Compared(label="x", values=seeds, images=many).side() == 1
    against = Compared(label="x", values=seeds, images=few)
    assert against.side() == 0 and "with the spread over images" in against.doubt()


def test_bonferroni_interval_by_hand() -> None:
    values = (0.1, 0.2, 0.4)
    low, high = stats.t.interval(1 - 0.05 / 5, 2, loc=np.mean(values), scale=stats.sem(values))
    quantity = Compared(label="x", values=values)
    assert [quantity.side(low - 1e-6, 5), quantity.side(low + 1e-6, 5)] == [1, 0]
    assert [quantity.side(high + 1e-6, 5), quantity.side(high - 1e-6, 5)] == [-1, 0]


def test_one_of_several_fails_only_beyond_bonferroni() -> None:
    quantity = Compared(label="x", values=(0.9, 1.0, 1.2))
    assert quantity.estimate.low is not None
    bound = quantity.estimate.low - 0.01  # the plain interval lies above it, the one corrected for two does not
    assert quantity.side(bound) == 1
    assert [quantity.kind(-1, bound, comparisons) for comparisons in (1, 2)] == [FAILS, UNDECIDED]
    assert quantity.kind(-1, 0.0, 2) == FAILS
    assert quantity.kind(1, bound, 2) == HOLDS, "what all of them show needs no correction"


@pytest.mark.parametrize(
    ("factor", "piece"),
    [
        ("encoder connectivity", "connectivity"), ("decoder_conv", "convolution"), ("encoder convolution and decoder convolution",
         "convolution"), ("stem width", "widths"), ("encoder_stem", "widths"), ("head", "head"), ("downsampling", "the rest"),
        ("encoder", "mixed"), ("encoder connectivity and encoder convolution", "mixed"),
        ("encoder connectivity and downsampling and decoder connectivity and transposed", "connectivity"),
    ],
)  # fmt: skip
def test_pieces_by_name(factor: str, piece: str) -> None:
    assert rules_pieces.piece_of(factor) == piece


def test_interval_of_a_sum_is_at_least_as_wide_as_either() -> None:
    effects = {"encoder conv": Effect(value=1.0, low=0.5, high=1.5), "decoder conv": Effect(value=2.0, low=1.8, high=2.2)}
    piece = rules_pieces.pieces(effects, 6.0)["convolution"]
    assert (piece.value, piece.low, piece.high, piece.share) == (3.0, 2.3, 3.7, 0.5)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (3.2249, 3.1276, 3.298, "3.225 (3.128 to 3.298)"), (0.0998, 0.0943, 0.1053, "0.0998 (0.0943 to 0.1053)"),
        (-0.0998, -0.2, 0.01, "−0.10 (−0.20 to 0.01)"), (64.8392, 64.8392, 64.8392, "64.84 (64.84 to 64.84)"),
        (5.0, None, None, "5.00"), (9_352_195, None, None, "9,352,195"),
    ],
)  # fmt: skip
def test_numbers_as_they_are_shown(value: float, low: float | None, high: float | None, text: str) -> None:
    assert spanned(value, low, high) == text


def test_plain_numbers() -> None:
    assert [plain(v) for v in (0.0, 12.345, 1234, -0.5, 1101.97)] == ["0", "12.3", "1,234", "−0.500", "1,102"]


def test_combining() -> None:
    assert [all_of(k) for k in ([HOLDS, HOLDS], [HOLDS, FAILS], [HOLDS, UNDECIDED], [])] == [HOLDS, FAILS, UNDECIDED, UNDECIDED]
    assert [agreed(k) for k in ([HOLDS, HOLDS], [FAILS, FAILS], [HOLDS, FAILS])] == [HOLDS, FAILS, UNDECIDED]
    assert [from_side(s, -1) for s in (-1, 1, 0)] == [HOLDS, FAILS, UNDECIDED]


@pytest.mark.parametrize(("spread", "num"), [(0.05, 3), (0.05, 8), (0.2, 5)])
def test_fieller_s_interval_covers(spread: float, num: int) -> None:
    """Or there is none, where what is divided by is not settled."""
    rng = np.random.default_rng(5)
    hits, made = 0, 0
    for _ in range(2000):
        lower = 1 + spread * rng.normal(size=num)
        upper = 0.4 * lower + spread * rng.normal(size=num)
        ratio = quotient(upper, lower)
        made += ratio.known
        hits += ratio.contains(0.4)
    assert made > 1000 and 0.93 <= hits / made <= 0.98


def test_nothing_is_divided_by_what_may_be_zero() -> None:
    assert not quotient([1.0, 1.1, 0.9], [0.1, -0.2, 0.3]).known
    share = Compared(label="x", values=(1.0, 1.1, 0.9), over=(0.1, -0.2, 0.3))
    assert share.side(0.1) == 0 and "the whole of which x is a part is not settled above zero" in share.doubt(0.1)
