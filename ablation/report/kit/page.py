"""A page of headings, paragraphs, lists, tables and pictures, written as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIME = {".svg": "image/svg+xml", ".png": "image/png"}
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1b1b1b; background: #fff;
       max-width: 54rem; margin: 0 auto; padding: 1rem 1rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0 .6rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ddd; }
li { margin: .35rem 0; } ul { padding-left: 1.2rem; margin-top: .3rem; }
code { background: #f3f3f3; padding: .1em .3em; border-radius: 3px; font-size: .88em; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid #e5e5e5; text-align: right; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid #999; white-space: normal; vertical-align: bottom; } .text { text-align: left; }
td.text { white-space: normal; min-width: 5.5rem; }
tbody tr:nth-child(even) { background: #fafafa; } img { width: 100%; min-width: 34rem; height: auto; display: block; }
@media print { body { font-size: 10pt; max-width: none; padding: 0; } .wide { overflow: visible; break-inside: avoid; }
  img { min-width: 0; max-height: 20cm; object-fit: contain; } table { font-size: 7pt; }
  th, td { padding: .15rem .25rem; white-space: normal; } p { break-after: avoid; }
  h2 { break-after: avoid; } }
"""


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or 2."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Text; **bold** and `code` are understood in both forms."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Headings, whether each column is of numbers, and lines of cells."""

    headings: Sequence[str]
    is_number: Sequence[bool]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A file below the page's folder."""

    path: str
    alt: str


Block = Heading | Paragraph | Bullets | Table | Picture


def to_markdown(blocks: Sequence[Block]) -> str:
    """GitHub Markdown; pictures are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_safe(block.text)}"
    if isinstance(block, Paragraph):
        return _safe(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_safe(item)}" for item in block.items)
    if isinstance(block, Picture):
        return f"![{_safe(block.alt)}]({block.path})"
    rule = ["---:" if number else "---" for number in block.is_number]
    lines = [[escape_markdown(c) for c in block.headings], rule, *([escape_markdown(c) for c in line] for line in block.lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# what Markdown reads as markup within a line; an underscore within a word is none
_MARKUP = re.compile(r"[\\`*~$]|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LITERAL = 0xE000
# private characters: one that stands for a character of a name has its code behind this one
_LITERALS = re.compile(f"[{chr(_LITERAL)}-{chr(_LITERAL + 127)}]")


def literal(text: str) -> str:
    """A name to be put into a sentence, so that none of its characters is read as markup; `unmarked` gives the name again."""
    return _MARKUP.sub(lambda found: "".join(chr(_LITERAL + ord(c)) for c in found[0]), text)


def unmarked(text: str, before: str = "") -> str:
    """A sentence with the names that `literal` marked as they are written, `before` in front of each character that was marked."""
    return _LITERALS.sub(lambda found: before + chr(ord(found[0]) - _LITERAL), text)


def _safe(text: str) -> str:
    return unmarked(text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " "), before="\\")


def escape_markdown(text: str) -> str:
    """Text that keeps its place in a Markdown table, and reads as it is written: no bars, tags, markup or line ends of its own."""
    return _safe(literal(unmarked(text))).replace("|", "\\|")


def to_html(blocks: Sequence[Block], folder: Path) -> str:
    """One file that needs no other and no network: pictures below `folder` are put inside it."""
    heading = next((b.text for b in blocks if isinstance(b, Heading)), "Report")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(unmarked(heading))}</title>"
    body = "\n".join(block_html(block, folder) for block in blocks)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def block_html(block: Block, folder: Path) -> str:
    """One block as HTML; pictures are read from `folder` and put into the page."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{inline(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{inline(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Picture):
        alt = html.escape(unmarked(block.alt), quote=True)
        return f'<div class="wide"><img alt="{alt}" src="{data_uri(folder / block.path)}"></div>'
    head = _html_line("th", block.headings, block.is_number)
    body = "".join(_html_line("td", line, block.is_number) for line in block.lines)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _html_line(tag: str, cells: Sequence[str], is_number: Sequence[bool]) -> str:
    kinds = ["" if number else ' class="text"' for number in is_number]
    return "<tr>" + "".join(f"<{tag}{k}>{html.escape(unmarked(c))}</{tag}>" for c, k in zip(cells, kinds, strict=True)) + "</tr>"


def inline(text: str) -> str:
    """Text with **bold** and `code` as HTML."""
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
    return unmarked(re.sub(r"`(.+?)`", r"<code>\1</code>", escaped))


def data_uri(path: Path) -> str:
    """A picture as a data URI, so that a page needs no other file."""
    return f"data:{MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
