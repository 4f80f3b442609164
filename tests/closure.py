"""Which of the project's files a script imports, directly or through others: read, not run."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"


def import_closure(script: Path) -> set[str]:
    """Return the script and all of `src/` that it imports, as paths from the root."""
    found: set[Path] = set()
    waiting = [script.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return {path.relative_to(ROOT).as_posix() for path in found}


def _imported(path: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide what a stage depends on"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [file for name in names for file in _files(name)]


def _files(name: str) -> list[Path]:
    """Return the files that importing a dotted name runs: its packages and its module."""
    if name.split(".", maxsplit=1)[0] != "powtwo":
        return []
    parts = name.split(".")
    parents = [SOURCE.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [
        path for path in [*parents, SOURCE.joinpath(*parts).with_suffix(".py")] if path.exists()
    ]
