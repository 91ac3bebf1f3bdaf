"""Sentences that state results, held to the numbers behind them: markers that a reader does not see, and a check of each. No torch.

A marker is an HTML comment right below the paragraph, list or table whose numbers it vouches for (no blank line between):

    It takes ×3.22 (3.13 to 3.30) as long, and saves 33 %.
    <!-- finding results/x/provenance.json: ratios.1 = 3.22 (3.13 to 3.30); 1 - {params.b} / {params.a} = 33 % -->

One file, then statements between semicolons: what is stored (`findings_values`), "=", and the number exactly as the paragraph
shows it: digits as printed, with %, M (10⁶) or G (10⁹) where they stand; "(a to b)" is compared with the stored interval.
In a ledger "C2 = holds" is the verdict on C2. "±3%" at the end, or "<" or ">" in place of "=", say what a sentence says in words;
then the number need not be shown. `copied` instead of statements: each line above is a line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.findings_values import NUMBER, Unsupported, document, evaluate

MARKER = re.compile(r"<!--\s*finding\s+(?P<file>[^\s:]+):(?P<body>.*?)-->", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
STATEMENT = re.compile(r"^(?P<what>.+?)\s(?P<sign>[=<>])\s(?P<shown>.+?)(?:\s±(?P<tolerance>[\d.]+)\s?%)?$", re.DOTALL)
SHOWN = re.compile(
    rf"^[×]?(?P<value>{NUMBER})(?:\s(?P<unit1>[^\s(]+))?(?:\s\((?P<low>{NUMBER})\sto\s(?P<high>{NUMBER})\))?(?:\s(?P<unit2>\S+))?$"
)
SCALES = {"%": 100.0, "M": 1e-6, "G": 1e-9}

# what counts as a measured number: ×3.2, 3.2, 9,352,195, 1e-6, or a number before one of these units
MEASURED = re.compile(
    r"(?<![\w.,-])(?P<times>×)?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+(?:e[−-]?\d+)?|\d+(?:e[−-]?\d+)?)"
    r"(?P<unit>[\s\u00a0]?(?:%|ms\b|s\b|[MG]B\b|[MG]\b|x\b|times\b|images/s))?(?![\w]|[.,]\d)"
)
# levels of intervals and versions, which nothing has measured
LEVEL = re.compile(r"\b9[059][\s\u00a0]% (?=interval|confidence)|\bPython 3\.\d+|\b\d+\.\d+ or newer")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a marker."""

    file: str
    what: str
    sign: str
    shown: str
    tolerance: float | None = None  # relative

    @property
    def must_be_shown(self) -> bool:
        """Whether the paragraph must hold the number as it is."""
        return self.sign == "=" and self.tolerance is None and SHOWN.match(self.shown) is not None


def problems(text: str, root: Path, sections: Iterable[str] | None = None) -> list[str]:
    """What stored numbers do not support of a Markdown text; with `sections`, also measured numbers there without a marker."""
    found = [problem for block in blocks(text) for problem in _block_problems(block, root)]
    return found if sections is None else found + unmarked(text, sections)


def blocks(text: str) -> list[str]:
    """Paragraphs, lists and tables: what stands between blank lines, outside of fenced code."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [block for block in re.split(r"\n\s*\n", plain) if block.strip()]


def statements(block: str) -> list[Statement]:
    """The statements of a block's markers; Unsupported for one that cannot be read."""
    return [
        _statement(found["file"], part)
        for found in MARKER.finditer(block)
        if found["body"].strip() != "copied"
        for part in found["body"].split(";")
        if part.strip()
    ]


def _statement(file: str, text: str) -> Statement:
    found = STATEMENT.match(" ".join(text.split()))
    if found is None:
        raise Unsupported(f"{file}: cannot be read: {text.strip()!r}")
    tolerance = None if found["tolerance"] is None else float(found["tolerance"]) / 100
    return Statement(file=file, what=found["what"], sign=found["sign"], shown=found["shown"], tolerance=tolerance)


def _block_problems(block: str, root: Path) -> list[str]:
    found = []
    try:
        told = statements(block)
    except Unsupported as reason:
        return [str(reason)]
    for statement in told:
        try:
            check(statement, root)
            if statement.must_be_shown:
                _check_shown(statement, prose(block))
        except Unsupported as reason:
            found.append(f"{statement.file}: {statement.what} {statement.sign} {statement.shown}: {reason}")
    return found + _copied_problems(block, root)


def _copied_problems(block: str, root: Path) -> list[str]:
    found = []
    for marker in MARKER.finditer(block):
        if marker["body"].strip() == "copied":
            path = root / marker["file"]
            stored = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            lines = [line for line in visible(block).splitlines() if line.strip()]
            found += [f"{marker['file']}: has no such line: {line}" for line in lines if line not in stored]
    return found


def _check_shown(statement: Statement, text: str) -> None:
    found = SHOWN.match(statement.shown)
    assert found is not None, "must_be_shown"
    ends = [found[name].lstrip("+−-") for name in ("value", "low", "high") if found[name]]
    missing = [core for core in ends if core not in cores(text)]
    with_unit = re.search(rf"(?<![\w.,]){re.escape(ends[0])}[\s\u00a0]?{re.escape(found['unit1'] or '')}", text)
    if missing or with_unit is None:
        raise Unsupported(f"the paragraph does not show {', '.join(missing) or statement.shown}")


def cores(text: str) -> list[str]:
    """The numbers in a text, as they are printed, without sign."""
    return [n.lstrip("+−-").rstrip(",") for n in re.findall(rf"(?<![\w.]){NUMBER}", text.replace("×", " "))]


def visible(block: str) -> str:
    """A block without its comments, as a reader sees it."""
    return COMMENT.sub("", block)


def prose(block: str) -> str:
    """A block without comments, code, headings and the targets of links: what may state a result."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)|^#+ .*$", " ", visible(block), flags=re.MULTILINE)


def check(statement: Statement, root: Path) -> None:
    """Raises Unsupported where the file does not hold what the statement says."""
    path = root / statement.file
    if not path.is_file():
        raise Unsupported("there is no such file")
    stored = evaluate(statement.what, document(path))
    if isinstance(stored, str):
        if statement.sign != "=" or stored != statement.shown:
            raise Unsupported(f"stored is {stored!r}")
        return
    found = SHOWN.match(statement.shown)
    if found is None:
        raise Unsupported(f"stored is the number {stored.value:g}")
    scale = SCALES.get(found["unit1"] or found["unit2"] or "", 1.0)
    _compare(statement, found["value"], stored.value * scale)
    for end, value in (("low", stored.low), ("high", stored.high)):
        if found[end] is not None:
            if value is None:
                raise Unsupported("no interval is stored")
            _compare(statement, found[end], value * scale)


def _compare(statement: Statement, shown: str, stored: float) -> None:
    value = float(shown.replace(",", "").replace("−", "-"))
    if statement.sign != "=":
        right = stored < value if statement.sign == "<" else stored > value
    else:
        right = abs(stored - value) <= (_half_digit(shown) if statement.tolerance is None else statement.tolerance * abs(value))
    if not right:
        raise Unsupported(f"stored is {stored:.6g}")


def _half_digit(shown: str) -> float:
    """Half a unit of the last digit that is shown, and a little for binary fractions."""
    mantissa, _, exponent = shown.replace("−", "-").partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * 10 ** (int(exponent or 0) - decimals) * (1 + 1e-9)


def unmarked(text: str, sections: Iterable[str]) -> list[str]:
    """Measured numbers in these sections ("" is what comes before the first) that no statement of their block vouches for."""
    found = []
    for heading, part in _sections(text):
        if heading in set(sections):
            found += [f"{heading or 'introduction'}: {token} has no finding: {_start(block)}" for block in blocks(part)
                      for token in _unvouched(block)]  # fmt: skip
    return found


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^##\s+(.*)$", text, flags=re.MULTILINE)
    return [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


def _unvouched(block: str) -> list[str]:
    if any(marker["body"].strip() == "copied" for marker in MARKER.finditer(block)):
        return []
    try:
        vouched = {core for statement in statements(block) if statement.sign == "=" for core in cores(statement.shown)}
    except Unsupported:
        return []  # said already
    return [token for token in measured_numbers(block) if token not in vouched]


def measured_numbers(block: str) -> list[str]:
    """The measured numbers that a reader sees in a block: with a decimal, a thousand, an exponent, a ×, or a unit."""
    text = LEVEL.sub(" ", prose(block))
    return [
        m["number"]
        for m in MEASURED.finditer(text)
        if m["times"] or m["unit"] or "." in m["number"] or "," in m["number"] or "e" in m["number"]
    ]


def _start(block: str) -> str:
    return " ".join(visible(block).split())[:60]
