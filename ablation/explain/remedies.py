"""What to do about a slow network, with code that can be pasted: ways of running it, and other specs.

Ranked by what they keep: first what computes the same function to rounding, then the same in reduced precision, then another
function of the same weights, then other networks, which must be trained; each by measured gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ablation.design.callable_spec import CallableSpec
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from ablation.explain.modes import EAGER, MODES
from ablation.faster.optimise import tolerance_of
from ablation.record.explanation import ModeResult, Remedy
from ablation.stats import SETTLED

# name, spec, gain in latency (the network as it is over this one), and where known the gain's interval
SpecGain = tuple[str, AnySpec, float] | tuple[str, AnySpec, float, float, float]


def rank_remedies(
    modes: Iterable[ModeResult], *, device: str = "cpu", batch_size: int = 1, specs: Sequence[SpecGain] = (), made: bool = True
) -> tuple[Remedy, ...]:
    """Remedies for the second network, ranked: modes whose gain is settled, and specs to train.

    A mode that gains nothing here, or whose outputs differ by more than the tolerance of `optimise`, is no remedy; `modes` says so.
    The code of a mode takes `model` (with its weights) and `x` (inputs on the device); the code of a spec builds another network,
    which must be trained. `made`: whether the model is one that `ablation.build` made, which `optimise` takes.
    """
    ways = [
        _remedy(mode, device, batch_size, made) for mode in modes if mode.mode != EAGER and _gains(mode) and _same_outputs(mode)
    ]
    return tuple(sorted((*ways, *spec_remedies(specs)), key=lambda remedy: remedy.rank))


def spec_remedies(specs: Sequence[SpecGain]) -> tuple[Remedy, ...]:
    """Remedies that are other networks, in the order given: what to train in place of the second network."""
    remedies = []
    for name, spec, gain, *interval in specs:
        low, high = interval or (None, None)
        code = f"from ablation import ModelSpec, build\n\nmodel = build(ModelSpec.from_dict({_changes(spec)!r}))\n"
        code = spec.code if isinstance(spec, CallableSpec) else code
        text = "another network, to be trained"
        remedies.append(Remedy(name=name, text=text, code=code, gain=gain, gain_low=low, gain_high=high))
    return tuple(remedies)


def _same_outputs(mode: ModeResult) -> bool:
    return mode.max_error is not None and mode.max_error <= tolerance_of(MODES[mode.mode].steps)


def _gains(mode: ModeResult) -> bool:
    stands = mode.second_gain_low is not None and mode.second_gain_low > 1
    return mode.second_gain is not None and stands and mode.gain_verdict in ("", SETTLED)


def _remedy(mode: ModeResult, device: str, batch_size: int, made: bool) -> Remedy:
    steps = MODES[mode.mode].steps
    third = "_" if "mean only" in steps else "log_var"
    # calibrated on x alone it runs; images that it was trained on make it better
    images = ", calibration=x" if "int8" in steps else ""
    code = (
        "from ablation import optimise\n\n"
        f"fast = optimise(model, device={device!r}, batch_size={batch_size}, steps={list(steps)!r}{images})\n"
        f"reconstruction, mean, {third} = fast(x)\n"
    )
    if not made:
        call = f"fast = prepared(model.eval(), {list(steps)!r}, x)\noutput = fast(x)\n"
        code = f"from ablation.explain.prepared import prepared\n\n{call}"
    same = {field: getattr(mode, f"second_{field}") for field in ("gain", "gain_low", "gain_high")}
    keeps = mode.keeps or MODES[mode.mode].keeps
    return Remedy(name=mode.mode, text=mode.text, code=code, max_error=mode.max_error, keeps=keeps, **same)


def _changes(spec: AnySpec) -> dict[str, object]:
    """Only what differs from the defaults, so that the line can be read."""
    default = ModelSpec().to_dict()
    return {name: value for name, value in spec.to_dict().items() if value != default.get(name)}
