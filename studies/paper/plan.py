"""What a study of the paper will run: networks, seeds, images and epochs, fitted to a budget before anything is trained.

The plan is stored in the study's folder. The same command reads it again, so that a study that was stopped goes on as it began.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec, preset
from blocks.errors import must_be
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, POOLED, SAME_PARAMETERS
from studies.paper.folder import GROUPS, HYPOTHESES, MODELS, PIECES, SIDE_STUDIES
from studies.paper.rules.compared import LEAST_SEEDS

PAPER_SIZE, SMALL_SIZE = 144, 48
FULL_WIDTH_FROM = 96  # pixels from which the networks have the paper's widths; below, a quarter of them
PAPER_IMAGES = 20_000
RENDERED = 2000
LEAST_IMAGES = 300
QUICK_S = 420.0  # budget of a quick study on this machine, unless another is given
# what `explain` takes beyond its budget, by whether it is quick; timing training steps, references and the page
UNTIMED_S, REST_S = {False: 120.0, True: 20.0}, 50.0
LEAST_WHOLE_S = 100.0  # seconds from which an explanation is not the quick one
# what a budget gives up, in this order: replicates of a group (0: the group), a share of the images, epochs
LADDER: tuple[tuple[str, float], ...] = (
    *((group, seeds) for group in (HYPOTHESES, PIECES) for seeds in (2, 1)),
    *(("images", share) for share in (0.7, 0.5, 0.35, 0.25)),
    *(("epochs", epochs) for epochs in (7, 5, 4)),
    *((group, 0) for group in (HYPOTHESES, PIECES)),
    *(("images", share) for share in (0.15, 0.1, 0.05, 0.02)),
    *(("epochs", epochs) for epochs in (3, 2)),
)

# the pieces to which the loss is given: fields that go together from `original` to `modified`
FIELDS: dict[str, tuple[str, ...]] = {
    "connectivity": ("encoder_connectivity", "decoder_connectivity", "down", "transposed"),
    "convolution": ("encoder_conv", "decoder_conv"),
    "head": ("head",),
    "widths": ("encoder_stem", "encoder_widths", "decoder_stem", "decoder_widths"),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command asks for; None where it leaves the choice to the suite."""

    data: str = "faces"
    image_size: int | None = None
    images: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    batch_size: int | None = None
    budget_s: float | None = None
    device: str = "cpu"
    quick: bool = False
    data_seed: int = 0
    groups: tuple[str, ...] = GROUPS


@dataclass(frozen=True, kw_only=True)
class PaperPlan:
    """Everything that decides which trials there are."""

    asked: Mapping[str, Any]
    image_size: int
    images: int | None  # how many faces are rendered, or the first so many files; None: all there are
    epochs: int
    seeds: Mapping[str, int]  # group -> replicates; 0 leaves the group out
    batch_size: int = 32
    device: str = "cpu"
    quick: bool = False
    workers: int = 1
    side_by_side: Mapping[str, float] | None = None  # trials at a time -> images a second, where it was measured
    budget_s: float | None = None
    explain_s: float = 480.0  # of the budget, for explaining the latency of the paper's pair
    expected_s: float | None = None
    given_up: tuple[str, ...] = ()  # what the budget did not allow, one sentence each

    @property
    def full_width(self) -> bool:
        """Whether the networks have the paper's widths."""
        return self.image_size >= FULL_WIDTH_FROM

    @property
    def explain_quick(self) -> bool:
        """Whether the budget allows only the coarser explanation."""
        return self.explain_s < LEAST_WHOLE_S

    @property
    def protocol(self) -> Protocol:
        """The replica protocol, with this plan's epochs and batch."""
        return Protocol(epochs=self.epochs, batch_size=self.batch_size)

    @property
    def pair(self) -> tuple[ModelSpec, ModelSpec]:
        """`original` and `modified` as they are trained here."""
        names = ("original", "modified") if self.full_width else ("small", "small_modified")
        first, second = (preset(name).replace(image_size=self.image_size) for name in names)
        return first, second

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PaperPlan:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "given_up": tuple(values["given_up"])})


def arms(first: ModelSpec, second: ModelSpec) -> dict[str, ModelSpec]:
    """The networks that are trained with most seeds: the paper's two, and the two that tell what a number is worth."""
    from ablation.explain.controls import plain_controls

    control = dict(plain_controls(first, second))["same parameters"]
    return {ORIGINAL: first, MODIFIED: second, POOLED: first.replace(head="pooled"), SAME_PARAMETERS: control}


def pieces(first: ModelSpec, second: ModelSpec) -> dict[str, ModelSpec]:
    """Every network between the two, piece by piece, but the two themselves; those with a pooled head alone are arms already."""
    known = {first.network_key, second.network_key, first.replace(head="pooled").network_key}
    between: dict[str, ModelSpec] = {}
    for taken in itertools.product((False, True), repeat=len(FIELDS)):
        names = list(itertools.compress(FIELDS, taken))
        spec = first.replace(**{field: getattr(second, field) for name in names for field in FIELDS[name]})
        if spec.network_key not in known:
            between["original with " + ", ".join(f"modified's {name}" for name in names)] = spec
    return between


def first_plan(asked: Asked, num_images: int | None) -> PaperPlan:
    """The plan without a budget's cuts. `num_images`: how many files there are, for data that is not rendered."""
    size = asked.image_size or (PAPER_SIZE if asked.device == "cuda" and not asked.quick else SMALL_SIZE)
    images = asked.images or _images(asked, num_images)
    return PaperPlan(
        asked=_plain(asked),
        image_size=size,
        images=images,
        epochs=asked.epochs or (6 if asked.quick else 10),
        seeds=_seeds(asked),
        batch_size=asked.batch_size or 32,
        device=asked.device,
        quick=asked.quick,
        budget_s=asked.budget_s or (QUICK_S if asked.quick else None),
        explain_s=_explain_s(asked),
        given_up=("A quick study leaves out the networks between the two models.",) if asked.quick else (),
    )


def _plain(asked: Asked) -> dict[str, Any]:
    return {**asdict(asked), "groups": list(asked.groups)}


def _seeds(asked: Asked) -> dict[str, int]:
    """Replicates of each group; a quick study has the models and, once each, the hypotheses."""
    wanted = asked.seeds or LEAST_SEEDS
    seeds = {MODELS: wanted, PIECES: 0 if asked.quick else wanted, HYPOTHESES: 1 if asked.quick else wanted}
    return {group: number if group in asked.groups else 0 for group, number in seeds.items()}


def _images(asked: Asked, num_images: int | None) -> int | None:
    if asked.quick:
        return 600 if num_images is None else min(600, num_images)
    if asked.data == "faces":
        return PAPER_IMAGES if asked.device == "cuda" else RENDERED
    return None if num_images is None else min(PAPER_IMAGES, num_images)


def _explain_s(asked: Asked) -> float:
    if asked.quick:
        return 30.0
    return 480.0 if asked.budget_s is None else min(480.0, max(30.0, 0.15 * asked.budget_s))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What this machine takes, measured before the plan is fitted."""

    step_s: Mapping[str, Mapping[str, float]]  # group -> network or hypothesis -> seconds of one training step
    gain: float = 1.0  # of running several trials at a time: as many times faster
    trial_s: float = 3.0  # of a trial besides its training: quality, counts, storage
    analysis_s: float = 12.0  # of one trial of the two models
    lent: bool = False  # whether the explanation of the pair is there already

    def seconds(self, plan: PaperPlan, num_images: int) -> float:
        """Expected duration of all trials of a plan, explanation and analysis included."""
        steps = plan.epochs * -(-int(0.7 * (plan.images or num_images)) // plan.batch_size) * 1.1
        # validation after each epoch is a forward pass over a fifth as many images
        training = sum(
            plan.seeds[group] * (steps * seconds + self.trial_s) / self._gain(group, plan.seeds[group])
            for group, networks in self.step_s.items()
            for seconds in networks.values()
        )
        explaining = 0.0 if self.lent else plan.explain_s + UNTIMED_S[plan.explain_quick]
        return training + 2 * plan.seeds[MODELS] * self.analysis_s + explaining + REST_S

    def _gain(self, group: str, seeds: int) -> float:
        # each hypothesis is run by itself: no more of its trials are side by side than it has seeds
        return max(1.0, min(self.gain, seeds) if group == HYPOTHESES else self.gain)


def fit(plan: PaperPlan, pace: Pace, num_images: int, spent_s: float = 0.0) -> PaperPlan:
    """The first plan of the ladder that the budget allows, with what it gives up; InputError where not even the last one fits.

    `spent_s`: seconds of the budget that are over already.
    """
    wanted = pace.seconds(plan, num_images)
    if plan.budget_s is None:
        return replace(plan, expected_s=wanted)
    for candidate in ladder(plan, num_images):
        expected = pace.seconds(candidate, num_images)
        if expected + spent_s <= plan.budget_s:
            return replace(candidate, expected_s=expected, given_up=(*plan.given_up, *_given_up(plan, candidate, num_images)))
    least = f"at least about {(expected + spent_s) / 60:.0f} min on this machine, the least that this study takes"
    quick = "" if plan.quick else ", use --quick"
    remedies = f"Give it more time{quick}, or train less with --images, --epochs or --groups."
    raise must_be("--budget", least, f"{plan.budget_s / 60:.1f} min", remedies)


def ladder(plan: PaperPlan, num_images: int) -> Iterator[PaperPlan]:
    """Plans from the whole to the least, each giving up a little more: replicates of side studies, images, epochs, side studies."""
    yield plan
    start, current = plan.images or num_images, plan
    for name, least in LADDER:
        value = int(least * start) if name == "images" else int(least)
        now = {**current.seeds, "images": current.images or start, "epochs": current.epochs}[name]
        if value < now and (name != "images" or value >= LEAST_IMAGES):
            seeds = {**current.seeds, name: value} if name in current.seeds else current.seeds
            current = replace(current, seeds=seeds, **({} if name in current.seeds else {name: value}))  # type: ignore[arg-type]
            yield current


def _given_up(whole: PaperPlan, kept: PaperPlan, num_images: int) -> tuple[str, ...]:
    """One sentence for each thing that the kept plan has less of."""
    sentences = []
    for group, name in SIDE_STUDIES.items():
        before, after = whole.seeds[group], kept.seeds[group]
        if after == 0 < before:
            sentences.append(f"The budget left out {name}.")
        elif after < before:
            sentences.append(f"The budget allowed {after} of {before} seeds for {name}.")
    images = (whole.images or num_images, kept.images or num_images)
    for name, (before, after) in {"images": images, "epochs": (whole.epochs, kept.epochs)}.items():
        if after < before:
            sentences.append(f"The budget allowed {after:,} of {before:,} {name}.")
    return tuple(sentences)


def read_plan(path: Path, asked: Asked) -> PaperPlan | None:
    """The stored plan; None where there is none. InputError where it was made for another command."""
    if not path.is_file():
        return None
    try:
        plan = PaperPlan.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError):
        remedy = "It is damaged. Remove it and repeat the command: trials that are stored stay."
        raise must_be("plan.json", "the plan of a study", str(path), remedy) from None
    for name, value in _plain(asked).items():
        if plan.asked.get(name) != value:
            flag, remedy = f"--{name.removesuffix('_s').replace('_', '-')}", "Name another folder with --out."
            rule = f"{plan.asked.get(name)!r}, with which the study in {path.parent} was begun"
            raise must_be(flag, rule, value, remedy)
    return plan
