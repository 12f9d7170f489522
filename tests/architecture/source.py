"""The package's source, read once, for the tests that walk it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2] / "wa_dashboard"


@cache
def modules() -> tuple[Path, ...]:
    """Every Python file of the package but its empty door."""
    return tuple(sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """``services/sending.py``"""
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """The first part of the name: ``services``, ``db``."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def dotted(path: Path) -> tuple[str, ...]:
    """``("wa_dashboard", "services", "sending")``; a package's ``__init__`` is the package."""
    parts = ("wa_dashboard", *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path: Path, tree: ast.AST | None = None) -> Iterator[tuple[str, ...]]:
    """What the file imports, as absolute dotted names with the imported thing last; function bodies too."""
    here = dotted(path)
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(tree or tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls_of(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the last part of the called name: ``db.session.commit()`` is ``commit``."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node
