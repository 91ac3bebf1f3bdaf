"""A finding about trained networks: its sentence, its numbers, and on which data, size and hardware it was judged. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ablation.report.kit.numbers import count
from studies.paper.evidence.evidence import Evidence
from studies.paper.rules.compared import Compared, listed, numbers_of, settled
from studies.paper.rules.kinds import agreed, from_side, worded
from studies.paper.rules.verdict import Finding, Number

PAPER_SCALE: Mapping[str, object] = {
    "data": "celeba",
    "image_size": 144,
    "num_images": 20_000,
    "epochs": 10,
    "width": "the paper's",
}
PAPER = "CelebA (20,000 images), 144 px, 10 epochs, full width"


def both_ways(compared: Iterable[Compared], wanted: int = 1) -> str:
    """Holds when all lie on the wanted side of zero, fails when all lie on the other; else undecided."""
    return agreed(from_side(c.side(), wanted) for c in compared)


def conclude(
    evidence: Evidence,
    kind: str,
    words: tuple[str, str, str],
    *shown: Compared,
    extra: str = "",
    doubt: str | None = None,
    more: Sequence[Number] = (),
    scope: str = "",
    refused: bool = False,
) -> Finding:
    """The words for the verdict, what they rest on, anything extra, and the doubt: why what is shown is open, unless given."""
    doubt = settled(*shown) if doubt is None else doubt
    sentence = f"{worded(kind, words)} {listed(*shown)}{extra}{doubt}"
    numbers = (*numbers_of(shown), *more)
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence, scope), refused=refused)


def scope_of(evidence: Evidence, extra: str = "") -> str:
    """Where a claim that needs training was judged, and how that differs from the paper's scale."""
    scale = evidence.scale
    data = {"faces": "rendered faces", "celeba": "CelebA"}.get(str(scale.get("data")), str(scale.get("data", "unknown data")))
    images = scale.get("num_images")
    where = (
        f"{data} ({images:,} images)" if isinstance(images, int) else data,
        f"{scale.get('image_size', '?')} px",
        f"networks of {width_text(scale)}",
        count(scale.get("epochs", "?"), "epoch"),
        str(scale.get("hardware") or scale.get("device") or "hardware not stated"),
    )
    quick = "a quick run; " if scale.get("quick") else ""
    text = f"{quick}judged on {', '.join(where)} only" + (f"; {extra}" if extra else "")
    at_paper_scale = all(scale.get(name) == value for name, value in PAPER_SCALE.items())
    return text if at_paper_scale else f"{text}. The paper: {PAPER}."


def width_text(scale: Mapping[str, object]) -> str:
    """'the paper's width' or 'a quarter of the paper's width'."""
    width = str(scale.get("width", "unknown width"))
    return width if "width" in width else f"{width} width" if width.endswith("'s") else f"{width} of the paper's width"
