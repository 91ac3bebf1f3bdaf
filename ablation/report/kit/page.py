"""A page of blocks, written as Markdown and as one self-contained HTML file by the templates beside this module.

Each kind of block is a dataclass and a macro of its name in `templates/blocks.html` and `templates/blocks.md`. A room with blocks
of its own passes the path of its templates without their ending, e.g. `.../templates/paper`.
"""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates" / "blocks"


class Block:
    """What stands on a page."""


@dataclass(frozen=True)
class Heading(Block):
    """A heading of level 1 to 3; `anchor` is what a link may name."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Paragraph(Block):
    """Text; **bold** and `code` are understood in both forms."""

    text: str
    kind: ClassVar[str] = ""


class Answer(Paragraph):
    """The paragraph that comes first."""

    kind = "answer"


class Missing(Paragraph):
    """What a section lacks, and why."""

    kind = "missing"


@dataclass(frozen=True)
class Bullets(Block):
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code(Block):
    """Lines to paste."""

    text: str
    language: str = "python"


@dataclass(frozen=True)
class Table(Block):
    """Headings, whether each column is of numbers, and lines of cells."""

    headings: Sequence[str]
    is_number: Sequence[bool]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture(Block):
    """A file below the page's folder and, where there is one, the file of its numbers.

    A plot (SVG) is drawn for the width of a phone: plots that follow each other stand side by side where there is room. Other
    pictures keep the width that their pixels need.
    """

    path: str
    alt: str
    numbers: str = ""

    @property
    def is_plot(self) -> bool:
        """Whether it is drawn for any width."""
        return self.path.endswith(".svg")


def to_markdown(blocks: Iterable[Block], templates: Path = TEMPLATES) -> str:
    """GitHub Markdown; pictures and numbers are links to files beside it."""
    macro = _macros(templates, "md")
    texts = (macro(block).strip("\n") for block in blocks)
    return "\n\n".join(text for text in texts if text) + "\n"


def to_html(blocks: Sequence[Block], folder: Path, title: str = "", templates: Path = TEMPLATES) -> str:
    """One file that needs no other and no network: pictures below `folder` are put inside it."""
    macro = _macros(templates, "html", folder)
    groups = itertools.groupby(blocks, lambda block: isinstance(block, Picture) and block.is_plot)
    bodies = [(is_plots, [macro(block) for block in group]) for is_plots, group in groups]
    heading = title or next((unmarked(b.text) for b in blocks if isinstance(b, Heading)), "Report")
    style = Markup(TEMPLATES.with_name("style.css").read_text(encoding="utf-8"))
    return _environment(templates).get_template("page.html").render(title=heading, style=style, bodies=bodies) + "\n"


def _macros(templates: Path, ending: str, folder: Path = Path()) -> Callable[[Block], str]:
    """What renders a block: the macro of its class or of the nearest class above it, in the room's templates or in these."""
    names = dict.fromkeys((templates.name, TEMPLATES.name))
    loaded = [_environment(templates).get_template(f"{name}.{ending}").make_module({"folder": folder}) for name in names]

    def render(block: Block) -> str:
        kinds = (cls.__name__.lower() for cls in type(block).__mro__)
        return next(getattr(module, kind) for kind in kinds for module in loaded if hasattr(module, kind))(block)

    return render


@cache
def _environment(templates: Path) -> Environment:
    import jinja2  # not needed by processes that only train

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(list(dict.fromkeys((templates.parent, TEMPLATES.parent)))),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(inline=inline, unmarked=unmarked, sentence=safe_markdown, cell=escape_markdown, data_uri=data_uri)
    return environment


# what Markdown reads as markup within a line; an underscore within a word is none
_MARKUP = re.compile(r"[\\`*~$]|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LITERAL = 0xE000
# private characters: one that stands for a character of a name has its code behind this one
_LITERALS = re.compile(f"[{chr(_LITERAL)}-{chr(_LITERAL + 127)}]")


def literal(text: str) -> str:
    """A name to be put into a sentence, so that none of its characters is read as markup; `unmarked` gives the name again."""
    return _MARKUP.sub(lambda match: "".join(chr(_LITERAL + ord(c)) for c in match[0]), text)


def unmarked(text: str, before: str = "") -> str:
    """A sentence with the names that `literal` marked as they are written, `before` in front of each character that was marked."""
    return _LITERALS.sub(lambda match: before + chr(ord(match[0]) - _LITERAL), text)


def safe_markdown(text: str) -> str:
    """A sentence in Markdown, on one line and without tags."""
    return unmarked(text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " "), before="\\")


def escape_markdown(text: str) -> str:
    """Text that keeps its place in a Markdown table, and reads as it is written: no bars, tags, markup or line ends of its own."""
    return safe_markdown(literal(unmarked(text))).replace("|", "\\|")


def inline(text: str) -> Markup:
    """Text with **bold** and `code` as HTML."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
    return Markup(unmarked(re.sub(r"`(.+?)`", r"<code>\1</code>", bold)))


def data_uri(path: Path) -> str:
    """A picture as a data URI; an SVG without what only editors read, base64 where that is shorter."""
    if path.suffix != ".svg":
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    text = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text)).strip()
    # a hundredth of a point is enough for a line
    text = re.sub(r' d="[^"]+"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), text)
    plain = f"data:image/svg+xml,{quote(text, safe='/:;=,+!*~@$?')}"
    encoded = f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
    return min(plain, encoded, key=len)
