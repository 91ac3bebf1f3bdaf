"""What the paper's page has beyond a plain report's: anchors, verdicts that link to their evidence, strips. No torch."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ablation.report.kit import html as explain_html
from ablation.report.kit import page
from ablation.report.kit.html import Answer, Drawn, Missing
from studies.paper.page.strips import Pictures, page_uri
from studies.paper.rules.verdict import Verdict

HALF = 5  # rows of at most so many pictures stand in pairs where there is room
SIGNS = {"holds": "✓", "fails": "✗", "undecided": "?"}
STYLE = """
nav { font-size: .86rem; margin: .8rem 0 1.4rem; line-height: 1.9; } nav a { margin-right: .9rem; white-space: nowrap; }
a { color: #005a94; } h2, h3, tr[id] { scroll-margin-top: .6rem; }
.badge { display: inline-block; padding: .05rem .5rem; border-radius: .7rem; color: #fff; font-size: .8rem; font-weight: 600;
  white-space: nowrap; text-decoration: none; print-color-adjust: exact; }
.holds { background: #005f9e; } .fails { background: #b34700; } .undecided { background: #5f5f5f; }
.judged { font-size: .86rem; margin: .2rem 0 .9rem; } .judged .badge { margin: 0 .2rem .2rem 0; }
table.claims { width: 100%; font-size: .88rem; } .claims td { text-align: left; white-space: normal; padding: .5rem .5rem; }
.claims th { text-align: left; } .claims td:first-child, .claims th:first-child { min-width: 2.2rem; }
.claims td.id { font-weight: 600; } .claims .says { color: #444; margin: 0 0 .25rem; }
.claims .found { margin: 0; } .claims .scope { color: #555; font-size: .93em; margin: .2rem 0 0; }
.claims details { font-size: .93em; color: #444; margin-top: .25rem; } .claims summary { cursor: pointer; color: #005a94; }
.claims details ul { margin: .2rem 0; } .claims details li { margin: .1rem 0; }
.claims td.rule { color: #444; font-size: .93em; width: 33%; } .claims .label { display: none; }
.claims tr:target { background: #fff6d6; } td.text { max-width: 17rem; }
figure.strip { max-width: 48rem; margin: 1rem auto; } .rows { display: flex; flex-wrap: wrap; gap: .55rem 1rem; }
.row { max-width: 100%; } .row p { font-size: .82rem; color: #333; margin: 0 0 .15rem; } .row img { max-width: 100%; }
figcaption { font-size: .82rem; color: #555; margin-top: .3rem; }
@media (max-width: 600px) {
  .claims thead { display: none; } .claims, .claims tbody, .claims tr, .claims td { display: block; }
  .claims tr { border: 1px solid #ccc; border-radius: 6px; margin: 0 0 .8rem; padding: .5rem .7rem; background: #fff !important; }
  .claims tr:target { background: #fff6d6 !important; } .claims td { border: 0; padding: .12rem 0; width: auto; max-width: none; }
  .claims td:first-child { position: static; max-width: none; }
  .claims td.id, .claims td.verdict { display: inline-block; margin-right: .5rem; }
  .wide td { white-space: normal; } .wide td:not(:first-child) { min-width: 3.4rem; } .row { width: 100% !important; }
  .claims td.rule { width: auto; } .claims .label { display: inline; } table.claims { font-size: .92rem; }
}
@media print { table.claims { font-size: 8pt; } .claims tr { break-inside: avoid; } nav { display: none; } a { color: inherit; }
  .badge { color: #fff; font-size: 7.5pt; } .judged, figcaption, .row p { font-size: 8pt; } .claims summary { display: none; } }
"""


@dataclass(frozen=True)
class Section:
    """A heading that can be linked to, and the verdicts that rest on what follows."""

    text: str
    anchor: str
    level: int = 2
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class Claims:
    """The table of verdicts; each links to the section that holds its evidence."""

    verdicts: Sequence[Verdict]
    evidence: Mapping[str, str]  # id of a verdict -> anchor of a section


@dataclass(frozen=True)
class Contents:
    """Links to sections."""

    sections: Sequence[Section]


@dataclass(frozen=True)
class Strip:
    """One PNG below the page's folder, what it shows, and its rows for the page itself."""

    path: str
    alt: str
    caption: str
    rows: Sequence[tuple[str, Pictures]]


Block = explain_html.Block | Section | Claims | Contents | Strip


def to_markdown(blocks: Sequence[Block]) -> str:
    """GitHub Markdown; pictures and numbers are links to files beside it."""
    return "\n\n".join(text for text in map(_markdown, blocks) if text) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Section):
        head = f'<a id="{block.anchor}"></a>\n\n{page.to_markdown([page.Heading(block.text, block.level)]).rstrip()}'
        judged = ", ".join(f"[{v.id} {v.kind}](#{v.id})" for v in block.verdicts)
        return f"{head}\n\nJudged by this: {judged}." if judged else head
    if isinstance(block, Claims):
        rows = [_markdown_claim(v, block.evidence.get(v.id, "")) for v in block.verdicts]
        return "\n".join(["| | verdict | claim and what was found | rule |", "| --- | --- | --- | --- |", *rows])
    if isinstance(block, Contents):
        return " · ".join(f"[{s.text}](#{s.anchor})" for s in block.sections)
    if isinstance(block, Strip):
        return page.to_markdown([page.Picture(block.path, block.alt), page.Paragraph(block.caption)]).rstrip()
    return explain_html.to_markdown([block]).rstrip()


def _markdown_claim(verdict: Verdict, anchor: str) -> str:
    said = f"*{_cell(verdict.says)}*<br>{_cell(verdict.sentence)}" + (f" ({_cell(verdict.scope)})" if verdict.scope else "")
    link = f"[{verdict.id}](#{anchor})" if anchor else verdict.id
    return f'| <a id="{verdict.id}"></a>{link} | **{verdict.kind}** | {said} | {_cell(verdict.rule)} |'


def _cell(text: str) -> str:
    return page.to_markdown([page.Paragraph(text)]).rstrip().replace("|", "\\|")


def to_html(blocks: Sequence[Block], folder: Path, title: str) -> str:
    """One file that needs no other and no network: pictures below `folder` are put inside it."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title><style>{page.STYLE}{explain_html.EXTRA_STYLE}{STYLE}</style>"
    body = "\n".join(text for text in (_html(block, folder) for block in blocks) if text)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Section):
        badges = "".join(badge(v, f"{v.id} ", v.id) for v in block.verdicts)
        judged = f'\n<p class="judged">Judged by this: {badges}</p>' if badges else ""
        return f'<h{block.level} id="{block.anchor}">{page.inline(block.text)}</h{block.level}>{judged}'
    if isinstance(block, Claims):
        rows = "\n".join(_html_claim(v, block.evidence.get(v.id, "")) for v in block.verdicts)
        heads = ("", "verdict", "what the paper says, and what was found", "the rule that decides")
        head = f"<tr>{''.join(f'<th>{text}</th>' for text in heads)}</tr>"
        glance = " ".join(badge(v, f"{v.id} ", v.id) for v in block.verdicts)
        table = f'<table class="claims"><thead>{head}</thead><tbody>\n{rows}\n</tbody></table>'
        return f'<p class="judged">At a glance: {glance}</p>\n{table}'
    if isinstance(block, Contents):
        return "<nav>" + " ".join(f'<a href="#{s.anchor}">{html.escape(s.text)}</a>' for s in block.sections) + "</nav>"
    if isinstance(block, Strip):
        rows = "".join(_html_row(label, pictures) for label, pictures in block.rows)
        return f'<figure class="strip"><div class="rows">{rows}</div><figcaption>{page.inline(block.caption)}</figcaption></figure>'
    if isinstance(block, Drawn):
        wide, narrow = (svg_uri(folder / path) for path in (block.path, block.narrow))
        image = f'<img alt="{html.escape(block.alt, quote=True)}" src="{wide}">'
        return f'<figure><picture><source media="(max-width: 600px)" srcset="{narrow}">{image}</picture></figure>'
    if isinstance(block, Answer | Missing):
        return f'<p class="{"answer" if isinstance(block, Answer) else "missing"}">{page.inline(block.text)}</p>'
    if isinstance(block, explain_html.Code):
        return f"<pre><code>{html.escape(block.text)}</code></pre>"
    return page.block_html(block, folder)


def _html_row(label: str, pictures: Pictures) -> str:
    rem = len(pictures) * 5.9 if len(pictures) > HALF else min(len(pictures) * 5.9, 23.4)
    text = html.escape(label, quote=True)
    return (
        f'<div class="row" style="width:{rem:.1f}rem"><p>{text or "&nbsp;"}</p><img alt="{text}" src="{page_uri(pictures)}"></div>'
    )


def badge(verdict: Verdict, before: str, target: str) -> str:
    """The verdict as a coloured word with a sign, which links to `target`."""
    text = f"{before}{SIGNS.get(verdict.kind, '')} {verdict.kind}"
    kind = verdict.kind if verdict.kind in SIGNS else "undecided"
    return f'<a class="badge {kind}" href="#{html.escape(target, quote=True)}">{html.escape(text)}</a>'


def _html_claim(verdict: Verdict, anchor: str) -> str:
    name = html.escape(verdict.id, quote=True)
    more = f' <a href="#{anchor}">Evidence&nbsp;↓</a>' if anchor else ""
    said = f'<p class="says">“{page.inline(verdict.says)}”</p><p class="found">{page.inline(verdict.sentence)}{more}</p>'
    said += f'<p class="scope">{page.inline(verdict.scope)}</p>' if verdict.scope else ""
    said += _html_numbers(verdict)
    rule = f'<span class="label">Rule: </span>{page.inline(verdict.rule)}'
    return (
        f'<tr id="{name}"><td class="id">{name}</td><td class="verdict">{badge(verdict, "", anchor or verdict.id)}</td>'
        f'<td>{said}</td><td class="rule">{rule}</td></tr>'
    )


def _html_numbers(verdict: Verdict) -> str:
    """The numbers behind a verdict, folded away."""
    if not verdict.evidence:
        return ""
    items = "".join(f"<li>{html.escape(n.name)}: {html.escape(n.text)}</li>" for n in verdict.evidence)
    num = len(verdict.evidence)
    return f"<details><summary>{num} number{'' if num == 1 else 's'}</summary><ul>{items}</ul></details>"


def svg_uri(path: Path) -> str:
    """An SVG as a data URI that any attribute may hold, without what only editors read; base64 where that is shorter."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    text = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text)).strip()
    plain = f"data:image/svg+xml,{quote(text, safe='/:;=,()+!*~@$?')}"
    encoded = f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
    return min(plain, encoded, key=len)
