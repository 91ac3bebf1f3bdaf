"""The house itself: imports go one way, without circles, and nothing grows past what can be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# rooms from the bottom to the top: a module imports from its own room and from rooms of lines above it
ROOMS = (
    ("blocks",),
    ("ablation.machine", "ablation.stats"),
    ("ablation.record",),
    ("ablation.design",),
    ("ablation.data",),
    ("ablation.measure",),
    ("ablation.train",),
    ("ablation.attribute", "ablation.faster"),
    ("ablation.explain",),
    ("ablation.search", "ablation.export"),
    ("ablation.report",),
    ("studies.store",),
    ("studies.work",),
    ("studies.engine",),
    ("studies.options",),
    ("studies.grid", "studies.explain"),
    ("studies.search",),
    ("studies.bench", "studies.paper"),
    ("studies.stored", "studies.reference"),
    ("studies.export",),
    ("studies.run",),
    ("studies.__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("blocks", "ablation", "studies")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
MOST_LINES, MOST_FUNCTION, MOST_FILES, MOST_STUDIES = 300, 40, 15, 15


def room(module: str) -> str:
    """The room of a module: the longest name of one that it begins with; a package's own name for `ablation` and `studies`."""
    rooms = [name for name in LEVEL if module == name or module.startswith(name + ".")]
    return max(rooms, key=len, default=module)


def imports(module: str, *, lazy: bool = True) -> Iterator[str]:
    """Modules of this project that a module imports: at its top, and inside its functions where `lazy`."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    typing = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree) if lazy else tree.body:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("module", sorted(set(FILES) - {"ablation", "studies"}))
def test_imports_go_one_way(module: str) -> None:
    own = LEVEL[room(module)]
    wrong = [other for other in imports(module) if other in FILES and room(other) in LEVEL
             and room(other) != room(module) and LEVEL[room(other)] >= own]  # fmt: skip
    assert wrong == []


def test_there_are_no_circles() -> None:
    # raises graphlib.CycleError, which names the circle
    graph = {module: {other for other in imports(module, lazy=False) if other in FILES and other != module} for module in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def test_every_room_is_on_the_list() -> None:
    assert [module for module in FILES if room(module) not in LEVEL] == ["ablation", "studies"]


def test_modules_and_functions_can_be_read_in_one_sitting() -> None:
    long: list[str] = []
    for module, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        num = len(text.splitlines())
        long += [f"{module}: {num} lines"] if num > MOST_LINES else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                about = ast.get_docstring(node, clean=False)  # which may hold an example: it is read apart from the code
                num = node.end_lineno - node.lineno + 1 - (len(about.splitlines()) if about else 0)
                long += [f"{module}.{node.name}: {num} lines"] if num > MOST_FUNCTION else []
    assert long == []


def test_folders_can_be_seen_at_a_glance() -> None:
    folders = {path.parent for path in FILES.values()}
    numbers = {str(f.relative_to(ROOT)): sum(1 for p in f.iterdir() if p.is_file()) for f in folders}
    assert {name: num for name, num in numbers.items() if num > MOST_FILES} == {}
    entries = [p.name for p in (ROOT / "studies").iterdir() if p.name != "__pycache__"]
    assert len(entries) <= MOST_STUDIES, entries
