"""The loss given to the pieces, from the trained networks between the paper's two. It makes their specs, which takes torch."""

from __future__ import annotations

from collections.abc import Sequence

from ablation.attribute.factorial import Factorial
from ablation.attribute.trained import attribute_all, attribute_trained
from ablation.design.spec import ModelSpec
from ablation.record.attribution import Attribution
from ablation.record.trial import COMPLETE, Record
from blocks.errors import InputError
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL

BySeed = dict[str, tuple[float, ...]]


def attributed(
    records: Sequence[Record], pair: tuple[ModelSpec, ModelSpec] | None = None
) -> tuple[list[Attribution], BySeed, list[str]]:
    """Loss, SSIM and PSNR given to the pieces, from all trials; the loss with each seed; and why any is not.

    `pair`: the paper's two as they are trained, unless their trials say it.
    """
    complete = [record for record in records if record.state == COMPLETE]
    specs = {r.label: ModelSpec.from_dict(r.spec) for r in complete if r.label in (ORIGINAL, MODIFIED)}
    if pair is None and len(specs) < 2:
        return [], {}, []
    factorial = Factorial.between(*(pair or (specs[ORIGINAL], specs[MODIFIED])))
    attributions, limits = attribute_all(factorial, complete)
    return attributions, _by_seed(factorial, complete), limits


def _by_seed(factorial: Factorial, complete: Sequence[Record]) -> BySeed:
    """Piece -> its Shapley value in the validation loss with each seed that all networks have; empty without one."""
    networks = {record.network_key for record in complete}
    groups = [[r for r in complete if r.seed == seed] for seed in sorted({r.seed for r in complete})]
    whole = [group for group in groups if {record.network_key for record in group} == networks]
    try:
        effects = [attribute_trained(factorial, group, "loss").shapley for group in whole]
    except InputError:
        # the networks between the two were not trained; the limits have the reason
        return {}
    return {name: tuple(values[name].value for values in effects) for name in effects[0]} if effects else {}
