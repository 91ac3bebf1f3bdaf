"""A search for a terminal: the answer, what is missing, and what to do next. No torch."""

from __future__ import annotations

import re
import textwrap

from ablation.record.search import SearchResult
from ablation.report.kit.page import unmarked
from ablation.report.search.answer import answer
from ablation.report.search.networks import states_text

# columns
TERMINAL = 100


def print_search(result: SearchResult) -> str:
    """The title, the answer and the next command lines, for a terminal of 100 columns; command lines are never broken."""
    text = unmarked(re.sub(r"\*\*|`", "", answer(result))).replace("\u00a0", " ")
    sections = [result.title, textwrap.fill(text, TERMINAL), textwrap.fill(f"{states_text(result)}.", TERMINAL)]
    sections += ["\n".join(f"# {phrase}\n{command}" for phrase, command in result.next_commands.items())]
    return "\n\n".join(filter(None, sections)) + "\n"
