"""What a page of an explanation has beyond a plain report's: pictures in two shapes, code to paste, the answer. No torch."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.report.kit import page

EXTRA_STYLE = """
.answer { font-size: 1.08rem; background: #f3f7fb; border-left: 4px solid #0072B2; padding: .7rem 1rem; }
figure { margin: 1rem 0; break-inside: avoid; } figure img { min-width: 0; max-width: 48rem; margin: 0 auto; }
pre { background: #f3f3f3; padding: .7rem .9rem; border-radius: 4px; overflow-x: auto; font-size: .84rem; line-height: 1.4; }
pre code { background: none; padding: 0; font-size: 1em; }
.missing { color: #555; background: #f6f6f6; padding: .5rem .8rem; border-left: 4px solid #aaa; }
h3 { font-size: 1.02rem; margin: 1.4rem 0 .4rem; }
th, td { padding: .3rem .42rem; } td.text { white-space: normal; min-width: 6.5rem; }
td:first-child, th:first-child { min-width: 6rem; }
@media (max-width: 600px) { body { padding: .5rem .9rem 3rem; } h1 { font-size: 1.4rem; }
  .answer { font-size: 1rem; padding: .6rem .8rem; }
  table { font-size: .8rem; } th, td { padding: .28rem .42rem; }
  .wide td:first-child, .wide th:first-child { position: sticky; left: 0; background: #fff; min-width: 5.2rem; max-width: 9rem;
    white-space: normal; } }
@media print { .answer { font-size: 10.5pt; } figure img { max-height: 11cm; object-fit: contain; } pre { white-space: pre-wrap; }
  h3 { break-after: avoid; } .answer, .missing { print-color-adjust: exact; } }
"""


@dataclass(frozen=True)
class Answer:
    """The paragraph that comes first."""

    text: str


@dataclass(frozen=True)
class Missing:
    """What a section lacks, and why."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to paste."""

    text: str


@dataclass(frozen=True)
class Drawn:
    """A picture in two shapes, files below the page's folder, and the file of its numbers."""

    path: str
    narrow: str
    numbers: str
    alt: str


Block = page.Block | Answer | Missing | Code | Drawn


def to_markdown(blocks: Sequence[Block]) -> str:
    """GitHub Markdown; pictures and numbers are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Code):
        return f"```python\n{block.text}\n```"
    if isinstance(block, Drawn):
        picture = page.to_markdown([page.Picture(block.path, block.alt)]).rstrip()
        return f"{picture}\n\n[Numbers]({block.numbers})"
    if isinstance(block, Answer | Missing):
        return page.to_markdown([page.Paragraph(block.text)]).rstrip()
    return page.to_markdown([block]).rstrip()


def to_html(blocks: Sequence[Block], folder: Path, title: str) -> str:
    """One file that needs no other and no network."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title><style>{page.STYLE}{EXTRA_STYLE}</style>"
    body = "\n".join(_html(block, folder) for block in blocks)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Code):
        return f"<pre><code>{html.escape(block.text)}</code></pre>"
    if isinstance(block, Answer | Missing):
        kind = "answer" if isinstance(block, Answer) else "missing"
        return f'<p class="{kind}">{page.inline(block.text)}</p>'
    if isinstance(block, Drawn):
        wide, narrow = (page.data_uri(folder / path) for path in (block.path, block.narrow))
        image = f'<img alt="{html.escape(block.alt, quote=True)}" src="{wide}">'
        return f'<figure><picture><source media="(max-width: 600px)" srcset="{narrow}">{image}</picture></figure>'
    return page.block_html(block, folder)
