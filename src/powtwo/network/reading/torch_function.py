"""What a function in a Python file of the user's returns: a PyTorch module, ready for inference."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from powtwo.network import python_files
from powtwo.network.reading.operations import ClassesError

MODULE = "network_of_the_user"  # in sys.modules, beside which the file's own name may be taken
ANY_CLASSES = 2  # where nobody knows yet how many the images have


def load(path: Path, function: str, image: tuple[int, ...], classes: int | None) -> nn.Module:
    """Return the module that a function in a file returns, ready for inference.

    Raises:
        ClassesError: where it fails for a number of classes that nobody knows yet.
        ValueError: where there is no such function, it fails, or it returns something else.
    """
    build = getattr(_imported(path), function, None)
    torch.set_default_dtype(torch.float32)  # which the file may have changed
    if not callable(build):
        raise ValueError(f"has no function {function}; correct model.function")
    known = {"image": image, "classes": classes or ANY_CLASSES}
    arguments = _arguments(build, function, known)
    try:
        module = _call(build, arguments, path, f"{function}()")
    except ValueError as error:
        if classes is None and "classes" in arguments:  # weights may be for as many as there are
            raise ClassesError(
                f"fails with classes = {ANY_CLASSES}, as nobody has said how many; "
                f"say --classes N: {error}"
            ) from error
        raise
    if not isinstance(module, nn.Module):
        raise ValueError(f"{function}() = {type(module).__name__}: must be a torch.nn.Module")
    for name, tensor in module.state_dict().items():
        is_float = isinstance(tensor, Tensor) and tensor.is_floating_point()
        if is_float and tensor.dtype != torch.float32:
            raise ValueError(f"{name}: is {tensor.dtype}; return a module in float32 (.float())")
    return module.eval().cpu()


def _imported(path: Path) -> Any:
    """Import a file, which finds what lies beside it."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # as dataclasses expect it
    sys.path[:0] = map(str, python_files.search_path(path))
    _call(spec.loader.exec_module, {"module": module}, path, "import")
    return module


def _arguments(build: Callable[..., Any], name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Return those of the known arguments that a function takes."""
    signature = inspect.signature(build).parameters
    for each in signature.values():
        needed = each.default is each.empty and each.kind not in (
            each.VAR_POSITIONAL,
            each.VAR_KEYWORD,
        )
        if needed and each.name not in known:
            raise ValueError(
                f"{name}() needs {each.name}; give it a default: only image and classes are given"
            )
    if any(each.kind is each.VAR_KEYWORD for each in signature.values()):
        return known
    return {key: value for key, value in known.items() if key in signature}


def _call(function: Callable[..., Any], arguments: dict[str, Any], path: Path, what: str) -> Any:
    """Call what the user wrote; what it raises becomes one line with its place.

    Raises:
        ValueError: where it raises anything.
    """
    try:
        with torch.enable_grad():  # restores what the user's code sets
            return function(**arguments)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        place = f" at line {line}" if line else ""
        raise ValueError(f"{what}: {type(error).__name__}{place}: {error}") from error
