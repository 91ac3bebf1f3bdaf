"""The card of an export: what the network is, what it costs, how well it does, and how to load it in each runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jinja2

from ablation.design.compose import VAE
from ablation.machine.hardware import machine_name

if TYPE_CHECKING:
    from ablation.export.write import Origin, Written


def card(model: VAE, origin: Origin, written: Mapping[str, Written], facts: Mapping[str, Any], *, sample: bool, plain: bool) -> str:
    """The card as Markdown, with the metadata that model hubs read at its head."""
    return render(
        "card.md", written, origin=origin, spec=model.spec, facts=facts, sample=sample, plain=plain,
        params=sum(p.numel() for p in model.parameters()), mask=model.mask_decoder is not None,
    )  # fmt: skip


def render(template: str, written: Mapping[str, Written], *, facts: Mapping[str, Any], **more: Any) -> str:
    """A card from its template, with what all of them show of the formats."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablation.export"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"span": _span, "error": _error}
    usable = {title: each for title, each in written.items() if not each.reason}
    return environment.get_template(template).render(
        **more, written=written, usable=usable, facts=facts, machine=machine_name(facts["hardware"]), threads=facts["threads"],
        batches=sorted({batch for each in usable.values() for batch in each.latency}, key=int),
        tags=list(dict.fromkeys(title.partition(",")[0].lower() for title in usable)),
    )  # fmt: skip


def _span(value: float | None, low: float | None = None, high: float | None = None, digits: int = 2) -> str:
    """'2.94 (2.90 to 2.98)', or '-'."""
    if value is None:
        return "-"
    ends = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{ends}"


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
