"""Which files of the user's the network is read of, as digests: `models/source.json`.

Of a Python file, those that it imports from its folder and those that its code names in plain text,
such as weights; of an ONNX file, its external data. Nothing is run, and PyTorch is not imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

from powtwo.core import files
from powtwo.network.params import Model

SOURCE = Path("models/source.json")  # what the stage `source` writes
LONGEST = 200  # characters of a string that may be a path


def digests(model: Model) -> dict[str, str]:
    """Return the sha256 of each file by its path; none where the network is not the user's.

    Raises:
        ValueError: where a file is missing, or no Python.
    """
    named = {
        path
        for key, value in (("python", model.python), ("onnx", model.onnx))
        if value is not None
        for path in _files(key, Path(value))
    }
    return {path.as_posix(): _sha256(path) for path in sorted(named)}


def write(model: Model) -> None:
    """Write what there is now."""
    files.write_json(SOURCE, {"files": digests(model)})


def checked(model: Model) -> dict[str, str]:
    """Return the digests, once they are what the stage `source` has written.

    Raises:
        ValueError: where they are not, or it has written none.
    """
    if not model.files:
        return {}
    now, before = digests(model), recorded()
    for path in sorted(now.keys() | before.keys()):
        if now.get(path) != before.get(path):
            raise ValueError(f"{SOURCE.as_posix()}: {path} has changed since; run `inv repro`")
    return now


def recorded(root: Path = Path()) -> dict[str, str]:
    """Return the digests that the stage `source` has written.

    Raises:
        ValueError: where it has written none.
    """
    try:
        return dict(files.read_json(root / SOURCE)["files"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(f"{SOURCE.as_posix()}: has no digests; run `inv repro`") from None


def _files(key: str, path: Path) -> list[Path]:
    if not path.is_file():
        raise ValueError(
            f"model.{key} = {path.as_posix()}: no such file; correct it: paths begin at the folder "
            "of params.yaml"
        )
    return _of_python(path) if key == "python" else _of_onnx(path)


def _of_python(path: Path) -> list[Path]:
    """List a file, what it imports from its folder, and what their code names."""
    finder = ModuleFinder(path=[str(path.parent.resolve())])
    try:
        finder.run_script(str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f" at line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"{path}: no Python{line} ({error}); correct it") from None
    found = []
    modules: Iterable[Any] = finder.modules.values()  # whose attributes have no types
    for module in modules:
        found += [Path(module.__file__)] if module.__file__ is not None else []
        texts = [text for text in _strings(module.__code__) if not Path(text).is_absolute()]
        found += [base / text for text in texts for base in (Path(), path.parent)]
    whole, root = [each.resolve() for each in found if each.is_file()], Path().resolve()
    return [each.relative_to(root) for each in whole if each.is_relative_to(root)]


def _strings(code: CodeType | None) -> Iterator[str]:
    """Yield the strings of a module's code that may be relative paths."""
    for constant in code.co_consts if code is not None else ():
        if isinstance(constant, CodeType):
            yield from _strings(constant)
        elif isinstance(constant, str) and 0 < len(constant) < LONGEST and constant.isprintable():
            yield constant


def _of_onnx(path: Path) -> list[Path]:
    """List a file and its external data."""
    import onnx  # noqa: PLC0415 (no other network needs it)
    from onnx import external_data_helper as external  # noqa: PLC0415

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ValueError(f"{path}: is no ONNX file ({type(error).__name__})") from None
    data = {
        path.parent / external.ExternalDataInfo(tensor).location
        for tensor in external._get_all_tensors(model)
        if external.uses_external_data(tensor)
    }
    if missing := [each for each in sorted(data) if not each.is_file()]:
        raise ValueError(f"{path}: its weights {missing[0]} are missing; put them beside it")
    return [path, *data]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
