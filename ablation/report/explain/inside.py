"""What happens inside the runtimes: how much of the slowdown each removes, and in which operations. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablation.record.explanation import SAME, Explanation, ModeResult, RuntimeShare
from ablation.report.explain.style import eager
from ablation.report.kit.numbers import joined, share_text, significant, times, times_span
from ablation.report.kit.page import Table

# runtime -> its mode, and the one of the rewritten network
RUNTIMES = {
    "onnxruntime": ("ONNX Runtime", "folded + reordered + ONNX Runtime"),
    "openvino": ("OpenVINO", "folded + reordered + OpenVINO"),
    "tensorrt": ("TensorRT", ""),
}
# a class with less of the time is as good as free
FREE = 0.01
CONCATENATION = "concatenation"
# what tells how far a runtime could merge layers and keep its own memory layout
OWN = {
    "activation": "Activations that stayed operations of their own take",
    "transposed convolution": "Transposed convolutions take",
    "memory layout": "Changes of memory layout and of number type take",
}
LONGEST = 3
# a runtime of another kind of device is not missed
ELSEWHERE = "does not run on"


def removed(explanation: Explanation, mode: ModeResult | None) -> float | None:
    """The share of the milliseconds between both networks that is gone where both are run in a mode; None where not timed."""
    as_built = eager(explanation)
    if mode is None or as_built is None:
        return None
    if None in (mode.first_ms, mode.second_ms, as_built.first_ms, as_built.second_ms):
        return None
    before = (as_built.second_ms or 0.0) - (as_built.first_ms or 0.0)
    after = (mode.second_ms or 0.0) - (mode.first_ms or 0.0)
    return 1 - after / before if before > 0 else None


def sentences(explanation: Explanation) -> list[str]:
    """For each runtime that was timed: what it gains, what it removes, what is left, and by which operations."""
    return [text for name in RUNTIMES if (text := _of_runtime(explanation, name))]


def _of_runtime(e: Explanation, runtime: str) -> str:
    modes = [m for name in RUNTIMES[runtime] for m in e.modes if m.mode == name and m.keeps in ("", SAME)]
    timed = [m for m in modes if m.first_ms and m.second_ms]
    if not timed:
        reason = next((m.reason for m in modes if m.reason), "")
        return f"**{RUNTIMES[runtime][0]}**: not measured: {reason}." if reason and not reason.startswith(ELSEWHERE) else ""
    best, as_built = min(timed, key=lambda m: m.second_ms or 0.0), eager(e)
    share = removed(e, best)
    text = f"**{best.mode}**: {e.first} runs {times(best.first_gain or 1)}, {e.second} "
    text += f"{times_span(best.second_gain, best.second_gain_low, best.second_gain_high)} as fast as eagerly"
    if share is not None and as_built is not None:
        before, after = ((m.second_ms or 0.0) - (m.first_ms or 0.0) for m in (as_built, best))
        verb = "removes" if share >= 0 else "adds"
        text += f", which {verb} {share_text(abs(share)).lstrip('+')} of the milliseconds between them ({significant(before)} to "
        text += f"{significant(after)}) and leaves a ratio of {times(best.ratio or 1)} ({times(as_built.ratio or 1)} eagerly)"
    return f"{text}.{''.join(f' {each}.' for each in _why(e, runtime))}"


def _why(e: Explanation, runtime: str) -> Iterator[str]:
    """What the runtime's own profiler shows of the second network, as it is."""
    shares = {s.kind: s for s in e.runtime_shares if s.runtime == runtime and s.network == "second"}
    if not shares:
        return
    longest = sorted(shares.values(), key=lambda s: -s.share)[:LONGEST]
    yield f"Inside it, {e.second} spends {joined([f'{_percent(s)} in {s.kind}' for s in longest])}"
    joins, eagerly = shares.get(CONCATENATION), [d.by_class for d in e.decompositions if d.name == e.second]
    has_joins = joins is not None or any(share.name == CONCATENATION for by_class in eagerly for share in by_class)
    if has_joins and (joins is None or joins.share < FREE):
        yield "Concatenation is free there" + ("" if joins is None else f" ({_percent(joins)})")
    elif joins is not None and joins not in longest:
        yield f"Concatenation takes {_percent(joins)}"
    for kind, words in OWN.items():
        share = shares.get(kind)
        if share is not None and share.share >= FREE and share not in longest:
            yield f"{words} {_percent(share)}, in {share.num_ops} operation{'' if share.num_ops == 1 else 's'}"


def _percent(share: RuntimeShare) -> str:
    return share_text(share.share).lstrip("+")


def table(explanation: Explanation) -> Table | None:
    """Share of the time and number of operations by class, in each runtime and network; None where nothing was profiled."""
    columns = list(dict.fromkeys((s.runtime, s.network) for s in explanation.runtime_shares))
    if not columns:
        return None
    names = {"first": explanation.first, "second": explanation.second}
    cells = {(s.kind, s.runtime, s.network): f"{_percent(s)} ({s.num_ops})" for s in explanation.runtime_shares}
    largest: dict[str, float] = {}
    for s in explanation.runtime_shares:
        largest[s.kind] = max(s.share, largest.get(s.kind, 0.0))
    lines: Sequence[Sequence[str]] = [
        [kind, *(cells.get((kind, *column), "-") for column in columns)] for kind in sorted(largest, key=lambda k: -largest[k])
    ]
    headings = ["class of operation", *(f"{names[network]} in {RUNTIMES[runtime][0]}" for runtime, network in columns)]
    return Table(headings, [False] + [True] * len(columns), lines)
