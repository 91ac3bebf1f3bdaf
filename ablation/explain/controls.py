"""Controls beside a comparison: the plain network cut, or grown, in width to the other's parameters or multiply-accumulates.

If such a network does as well as the second, its pieces bought nothing that fewer channels would not have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

from ablation.design.spec import ModelSpec
from ablation.measure.costs.static import StaticCost, static_cost
from ablation.record.explanation import Control

NAMES = {"params": "same parameters", "macs": "same multiply-accumulates"}
WORDS = {"params": "parameters", "macs": "multiply-accumulates"}
CLOSE = 0.005  # relative; closer needs no further search
LARGEST = 64.0  # times the widths
NEAR = 3  # channels by which a single width is moved in the end

Cost = Callable[[ModelSpec], StaticCost]


def plain_controls(first: ModelSpec, second: ModelSpec) -> tuple[tuple[str, ModelSpec], ...]:
    """(name, spec) of both controls. How close they come: `find_controls`."""
    return tuple((control.name, ModelSpec.from_dict(control.spec)) for control in find_controls(first, second))


def find_controls(first: ModelSpec, second: ModelSpec) -> tuple[Control, ...]:
    """Both controls with their costs; the label says how close they come to `second`.

    All widths of `first` (wired plainly, should it not be) are scaled by one number, found by bisection, and rounded; then the
    encoder's last width and the decoder's stem move by up to 3 channels. Rounding may leave more than 0.5 % in narrow networks.
    """
    plain, target, cost = first.replace(connectivity="plain"), static_cost(second), cache(static_cost)
    return tuple(_control(plain, metric, getattr(target, metric), cost) for metric in NAMES)


def scaled(spec: ModelSpec, times: float) -> ModelSpec:
    """All widths times a number, rounded, at least 1; the encoder's stem only where there is one."""

    def scale(*widths: int) -> tuple[int, ...]:
        return tuple(max(1, round(width * times)) for width in widths)

    encoder, decoder = scale(*spec.encoder_widths), scale(*spec.decoder_widths)
    stem = scale(spec.encoder_stem)[0] if spec.encoder_stem else 0
    return spec.replace(encoder_stem=stem, encoder_widths=encoder, decoder_stem=scale(spec.decoder_stem)[0], decoder_widths=decoder)


def _control(plain: ModelSpec, metric: str, target: int, cost: Cost) -> Control:
    def off(spec: ModelSpec) -> float:
        return abs(getattr(cost(spec), metric) / target - 1)

    times = min(_bracket(plain, metric, target, cost), key=lambda value: off(scaled(plain, value)))
    spec = _nudged(scaled(plain, times), off)
    made = cost(spec)
    reached = f"{getattr(made, metric) / target - 1:+.2%}".replace("-", "−").replace("%", " %")
    label = f"plain, {times:.3g} x the widths: {WORDS[metric]} {reached} of the second network's"
    return Control(name=NAMES[metric], label=label, spec=spec.to_dict(), params=made.params, macs=made.macs)


def _bracket(plain: ModelSpec, metric: str, target: int, cost: Cost) -> tuple[float, float]:
    # two neighbouring multipliers with the target between them (or the end of the range on the target's side)
    low, high = 0.0, 1.0
    while getattr(cost(scaled(plain, high)), metric) < target and high < LARGEST:
        low, high = high, 2 * high
    while scaled(plain, low) != scaled(plain, high) and high - low > 1e-4:
        middle = (low + high) / 2
        if getattr(cost(scaled(plain, middle)), metric) < target:
            low = middle
        else:
            high = middle
    return low, high


def _nudged(spec: ModelSpec, off: Callable[[ModelSpec], float]) -> ModelSpec:
    # the smallest move that is close enough, else the closest
    best = spec
    for stem, last in sorted(product(range(-NEAR, NEAR + 1), repeat=2), key=lambda move: (abs(move[0]) + abs(move[1]), move)):
        widths = (*spec.encoder_widths[:-1], max(1, spec.encoder_widths[-1] + last))
        moved = spec.replace(decoder_stem=max(1, spec.decoder_stem + stem), encoder_widths=widths)
        best = min(best, moved, key=off)
        if off(best) <= CLOSE:
            break
    return best
