"""What a claim about the course of a training needs to be judged: nearly as many epochs and steps as the paper's. No torch."""

from __future__ import annotations

import math

from ablation.report.kit.numbers import count
from studies.paper.evidence.evidence import Evidence, Trial
from studies.paper.rules.pairs import PAIR

LEAST_EPOCHS, PAPER_EPOCHS = 8, 10
# of one epoch of the paper: 70 % of 20,000 images in batches of 32
PAPER_STEPS = 438
LEAST_STEPS = LEAST_EPOCHS * PAPER_STEPS
LONG_ENOUGH = (
    f"undecided below {LEAST_EPOCHS} of the paper's {PAPER_EPOCHS} epochs, or below the steps of {LEAST_EPOCHS} of them "
    f"({LEAST_STEPS:,}, of {PAPER_STEPS} each), where the last epoch is an early one"
)


def too_short(evidence: Evidence) -> str:
    """Why both models' trials are too short for a claim about the course of training, as a sentence; empty where they are not."""
    epochs = min((len(curve(t, "val_loss")) for arm in PAIR for t in evidence.of(arm).values()), default=0)
    steps = steps_of_epoch(evidence)
    if epochs < LEAST_EPOCHS:
        return f" {trained(epochs)}, and a verdict needs {LEAST_EPOCHS}."
    if steps is None:
        return f" How many steps an epoch has is not stored, and a verdict needs {LEAST_STEPS:,} in all."
    if epochs * steps < LEAST_STEPS:
        return (
            f" {epochs * steps:,} steps were trained, {steps:,} in each epoch, and a verdict needs {LEAST_STEPS:,}: the paper's "
            f"first epoch alone has {PAPER_STEPS}."
        )
    return ""


def trained(epochs: int) -> str:
    """'1 epoch was trained'."""
    return f"{count(epochs, 'epoch')} {'was' if epochs == 1 else 'were'} trained"


def steps_of_epoch(evidence: Evidence) -> int | None:
    """Training steps in each epoch; None where it is not stored."""
    images, batch = evidence.scale.get("num_train"), evidence.scale.get("batch_size")
    return math.ceil(images / batch) if images and batch else None


def steps_text(evidence: Evidence) -> str:
    """How many steps were trained, beside the paper's."""
    steps, epochs = steps_of_epoch(evidence), evidence.scale.get("epochs")
    return "" if steps is None or not epochs else f"{epochs * steps:,} training steps; the paper has {PAPER_EPOCHS * PAPER_STEPS:,}"


def curve(trial: Trial, name: str) -> list[float]:
    """One loss by epoch."""
    epochs = trial.get("record.training.epochs") or ()
    return [float(e[name]) for e in epochs if e.get(name) is not None]
