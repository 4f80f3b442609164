"""Which files of a project a Python file reads: what it imports, and what its code names.

Nothing is run. A file that is opened by a name put together at run time is not among them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType

from powtwo.network.params import WRITTEN

LONGEST = 200  # characters of a string that may be a path


def search_path(path: Path) -> list[Path]:
    """Return where a file's imports are looked for: in its folder, then in the current one."""
    return [path.parent.resolve(), Path().resolve()]


def reads(path: Path) -> list[Path]:
    """List a file, what it imports from the project, and what their code names.

    Returns:
        Paths relative to the current folder, outside which nothing counts.

    Raises:
        ValueError: where one is no Python.
    """
    root, bases, main = Path().resolve(), search_path(path), path.resolve()
    modules: set[Path] = set()
    named: set[Path] = set()
    left = [main]
    while left:
        module = left.pop()
        if module in modules or not module.is_relative_to(root):
            continue
        modules.add(module)
        tree, code = _parsed(module)
        if module == main:
            _check_absolute(tree, path)
        left += [each.resolve() for each in _imported(tree, module, bases)]
        folders = {*bases, module.parent}
        named |= {file.resolve() for text in _strings(code) for file in _existing(text, folders)}
    found = [each.relative_to(root) for each in modules | named if each.is_relative_to(root)]
    return sorted(each for each in found if each.parts[0] not in WRITTEN)


def _parsed(path: Path) -> tuple[ast.Module, CodeType]:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
        return tree, compile(tree, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = f" at line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        name = path.relative_to(Path().resolve()).as_posix()
        raise ValueError(f"{name}: no Python{line} ({reason}); correct it") from None


def _check_absolute(tree: ast.Module, path: Path) -> None:
    """Refuse relative imports in a file that is imported alone, and not as part of a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = ", ".join(each.name for each in node.names)
            dots = "." * node.level + (node.module or "")
            raise ValueError(
                f"{path}: line {node.lineno}: from {dots} import {names}: the file is no part of a "
                "package; name the module by its place below the file's folder or params.yaml's"
            )


def _imported(tree: ast.Module, module: Path, bases: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of what a module imports, wherever in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _of_name(each.name.split("."), bases)
        elif isinstance(node, ast.ImportFrom):
            parents = module.parents[node.level - 1 :] if node.level else ()
            where = parents[:1] if node.level else bases
            for each in node.names:
                yield from _of_name([*(node.module or "").split("."), each.name], where)


def _of_name(parts: Sequence[str], bases: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of a module and of the packages around it; the first base has it."""
    parts = [part for part in parts if part]
    for base in bases:
        ends = [base.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        files = [file for end in ends for file in (end / "__init__.py", end.with_suffix(".py"))]
        if found := [file for file in files if file.is_file()]:
            yield from found
            return


def _strings(code: CodeType) -> Iterator[str]:
    """Yield the strings of a module's code that may be paths."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _strings(constant)
        elif isinstance(constant, str) and 0 < len(constant) < LONGEST and constant.isprintable():
            yield constant


def _existing(text: str, folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        with suppress(OSError):  # text that is too long for a name
            if (folder / text).is_file():
                yield folder / text
