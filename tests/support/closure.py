"""Which of the project's modules a script imports, directly or through others: read, not run."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


def import_closure(script: Path, without: frozenset[str] = frozenset()) -> set[str]:
    """Return the script and all of `src/` that it imports, as paths from the root.

    Packages of powtwo that are named in `without` are left out, and what they import.
    """
    found: set[Path] = set()
    waiting = [script.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found and package(path) not in without:
            found.add(path)
            waiting += imported(path)
    return {path.relative_to(ROOT).as_posix() for path in found}


def package(path: Path) -> str:
    """Return the package of powtwo that a file lies in, or the name of a module beside them."""
    parts = path.relative_to(SOURCE).parts
    return Path(parts[1]).stem if parts[0] == "powtwo" else ""


def imported(path: Path) -> list[Path]:
    """List the project's files that a file imports itself."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide what a stage depends on"
            _refuse_lazy_names(path, node)
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [file for name in names for file in _files(name)]


def _refuse_lazy_names(path: Path, node: ast.ImportFrom) -> None:
    """Within src/ a name comes from its module: a package's own names hide which module that is."""
    place = SOURCE.joinpath(*(node.module or "").split("."))
    if not (node.module or "").startswith("powtwo.") or not place.is_dir():
        return
    for alias in node.names:
        module = place / alias.name
        assert module.is_dir() or module.with_suffix(".py").exists(), (
            f"{path}: import {alias.name} from its module, not from {node.module}"
        )


def _files(name: str) -> list[Path]:
    """Return the files that importing a dotted name runs: its packages and its module."""
    if name.split(".", maxsplit=1)[0] != "powtwo":
        return []
    parts = name.split(".")
    parents = [SOURCE.joinpath(*parts[:n], "__init__.py") for n in range(2, len(parts) + 1)]
    return [
        path for path in [*parents, SOURCE.joinpath(*parts).with_suffix(".py")] if path.exists()
    ]
