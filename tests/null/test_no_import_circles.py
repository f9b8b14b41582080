"""No module needs, however far round, one that needs it: neither to run, nor late, nor for its types."""

import ast
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

import sixgig

Imports = Mapping[str, Set[str]]
ROOT = Path(sixgig.__file__).parent
# The package itself offers names of rooms and holds the version, which rooms read: not a module of any room.
FACE = "sixgig"


def imports(files: Mapping[str, str]) -> dict[str, set[str]]:
    """Of the modules of these texts, those of them that each imports anywhere in it."""
    return {name: set(_imported(name, ast.parse(text), set(files))) - {name} for name, text in files.items()}


def _imported(module: str, tree: ast.AST, known: Set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name"
            for alias in node.names:
                inner, outer = f"{node.module}.{alias.name}", str(node.module)
                yield from [name for name in (inner, outer) if name in known][:1]


def circles(imports: Imports) -> list[set[str]]:
    """Modules that reach one another, as Tarjan's algorithm finds them."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_, found = list[str](), list[set[str]]()

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        open_.append(module)
        for other in sorted(imports[module]):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in open_:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            start = open_.index(module)
            if len(open_) - start > 1:
                found.append(set(open_[start:]))
            del open_[start:]

    for module in imports:
        if module not in numbers:
            visit(module)
    return found


def test_no_two_modules_import_each_other_however_far_round() -> None:
    paths = {_name(path): path for path in ROOT.rglob("*.py")}
    files = {name: path.read_text() for name, path in paths.items() if name != FACE}
    assert len(files) > 400
    assert circles(imports(files)) == []


@pytest.mark.parametrize(
    "circle",
    [
        {
            "a": "import b",
            "b": "def f():\n    from c import x",
            "c": "if TYPE_CHECKING:\n    from a import y",
        },
        {"r": "from r.m import x", "r.m": "from r import x"},
    ],
    ids=["late and for types", "a room and its module"],
)
def test_a_circle_is_found_wherever_its_imports_stand(circle: dict[str, str]) -> None:
    others = {"d": "import a\nimport os", "e": "from d import f"}
    assert circles(imports({**circle, **others})) == [set(circle)]


def _name(path: Path) -> str:
    return ".".join((FACE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
