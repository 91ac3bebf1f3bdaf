"""`python -m studies.paper.findings`: docs/findings.md and the answer in the README, written from what results/reference holds.

The text is docs/findings.md.j2. Its numbers are computed from the stored results, so that none can differ from them. A sentence
about which way a result points stands behind `holds`: where the results no longer say so, nothing is written. No torch.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import jinja2
import pandas as pd

from ablation.attribute.effect import Effect
from ablation.attribute.pairing import paired_effects
from ablation.record.convert import from_plain
from ablation.record.search_confirmed import Confirmation
from ablation.record.trial import METRICS, Metric
from ablation.search.confirm import beats_everywhere, winner
from blocks.errors import InputError, must_be
from studies.paper.evidence.earlier import read_trials
from studies.paper.facts import REPORTED
from studies.paper.rules.numbers import percent, percent_span, plain

FOLDER, TEMPLATE, PAGE, README = "results/reference/cpu-2core-amd-epyc", "docs/findings.md.j2", "docs/findings.md", "README.md"
WRAPPER = TextWrapper(120, break_long_words=False, break_on_hyphens=False)
GENERATED = re.compile(r"(<!-- (\w+): generated -->\n).*?(<!-- /\2 -->)", re.DOTALL)
# a smaller ratio has three decimals
LEAST_OF_TWO = 0.5
# generated parts of the README, in the order in which they follow each other on the page, and how many blocks of text each has
PARTS = {"answer": 1, "winner": 2, "machines": 1}


class Results:
    """The stored results below a checkout, and the words and numbers that the template makes of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER

    def stored(self, name: str) -> Any:
        """A file as plain values: of JSON its object, of CSV its rows, else its text."""
        path = self.folder / name
        if not path.is_file():
            raise must_be("results", f"those of `reference`, with {name}", str(path))
        if path.suffix == ".csv":
            return pd.read_csv(path).to_dict("records")
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else text.rstrip()

    def measured(self, hardware: str) -> bool:
        """Whether this hardware has results."""
        return (self.folder.parent / hardware).is_dir()

    def effect(self, factor: str, metric: str, **levels: str) -> Effect | list[float]:
        """What the grid's only swap of a factor changes; with levels of other factors, in each pair of networks that has them."""
        trials = [trial.record for _, trial in read_trials(self.folder / "grid-celeba/trials.csv")]
        path = Metric(path=f"latency.{metric}.ratio", label=metric)
        [effect] = paired_effects(trials, factor, METRICS.get(metric, path), as_ratio=metric not in METRICS)
        if not levels:
            return effect
        pairs = [pair for pair in effect.pairs if all(pair.level(name) == level for name, level in levels.items())]
        return [effect.shown(pair.difference) for pair in pairs]


def pick(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The one row with these values; InputError where there is none, or several."""
    chosen = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if len(chosen) != 1:
        raise must_be("results", f"with one row of {wanted}", len(chosen))
    return chosen[0]


def times(stored: Mapping[str, Any] | Effect, name: str = "ratio", log: bool = False) -> str:
    """'×2.99 (2.97 to 3.00)' of a stored ratio, or of its logarithm; without a bracket where no interval is stored."""
    if isinstance(stored, Effect):
        values = [stored.mean, stored.low, stored.high]
    else:
        values = [stored[name if name in stored else "value"], *(stored.get(f"{name}_{e}", stored.get(e)) for e in ("low", "high"))]
    ratios = [math.exp(v) if log and v is not None else v for v in values]
    digits = 3 if ratios[0] is not None and ratios[0] < LEAST_OF_TWO else 2
    value, low, high = (plain(v, digits) if v is not None else None for v in ratios)
    return f"×{value}" if low is None or high is None else f"×{value} ({low} to {high})"


def holds(condition: bool, words: str) -> str:
    """The words; InputError where the results no longer say so."""
    if not condition:
        raise must_be(TEMPLATE, "true of the stored results", words, "Write what they say now.")
    return words


def opposed(first: Mapping[str, Any], second: Mapping[str, Any]) -> int:
    """How many claims hold in one ledger and fail in the other."""
    kinds = ({first["verdicts"][name]["kind"], verdict["kind"]} for name, verdict in second["verdicts"].items())
    return sum(kind == {"holds", "fails"} for kind in kinds)


def render(root: Path, prefix: str = "") -> str:
    """The page of findings; its links begin with `prefix`, the way from the page to the checkout."""
    results = Results(root)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.globals |= {
        "stored": results.stored, "measured": results.measured, "effect": results.effect, "pick": pick, "times": times,
        "holds": holds, "opposed": opposed, "winning": winning, "beats": beats, "paper": REPORTED,
        "folder": prefix + FOLDER, "root": prefix,
        "numbers": lambda text: [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)],
    }  # fmt: skip
    environment.filters |= {
        "plain": plain, "mean": mean, "percent": percent, "share": lambda s: percent_span(s["value"], s["low"], s["high"]),
        "million": lambda v: f"{plain(v * 1e-6, 2)}\u00a0M", "billion": lambda v: f"{plain(v * 1e-9, 2)}\u00a0G",
    }  # fmt: skip
    try:
        text = environment.from_string((root / TEMPLATE).read_text(encoding="utf-8")).render()
    except jinja2.UndefinedError as error:
        raise must_be("results", f"those that {TEMPLATE} names", FOLDER, f"{error}.") from None
    return "\n\n".join(map(_wrapped, text.strip().split("\n\n"))) + "\n"


def _wrapped(block: str) -> str:
    """A paragraph, or each item of a list, filled to the width of a page; a table as it is."""
    if block.strip().startswith("|"):
        return block.strip()
    WRAPPER.subsequent_indent = "  " * block.strip().startswith("- ")
    return "\n".join(WRAPPER.fill(re.sub(r"[ \n]+", " ", item)) for item in re.split(r"\n+(?=- )", block.strip()))


def parts_of(page: str) -> dict[str, str]:
    """The parts of the README, which are the first blocks below the page's heading."""
    _, *blocks = page.split("\n\n")
    parts = {}
    for name, num in PARTS.items():
        parts[name], blocks = "\n\n".join(blocks[:num]) + "\n", blocks[num:]
    return parts


def filled(readme: str, parts: Mapping[str, str]) -> str:
    """The README with each part between its two comments; InputError where it lacks them."""
    if sorted(match[2] for match in GENERATED.finditer(readme)) != sorted(parts):
        rule = f"a page with lines <!-- NAME: generated --> and <!-- /NAME --> for {' and '.join(parts)}"
        raise must_be(README, rule, "without them")
    return GENERATED.sub(lambda match: match[1] + parts[match[2]] + match[3], readme)


def winning(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The winner of a stored confirmation, as it is stored."""
    number = winner(from_plain(Confirmation, values))
    return pick(values["networks"], number=number)


def beats(values: Mapping[str, Any]) -> bool:
    """Whether the winner of a stored confirmation is settled to be better on every axis."""
    return beats_everywhere(from_plain(Confirmation, values), winning(values)["number"])


def mean(values: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(values) / len(values)


def main(root: Path = Path()) -> int:
    """Write both; 2, and one line of why, where the stored results do not allow it."""
    try:
        page = render(root, "../")
        readme = filled((root / README).read_text(encoding="utf-8"), parts_of(render(root)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (root / PAGE).write_text(page, encoding="utf-8")
    (root / README).write_text(readme, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
