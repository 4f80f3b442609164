"""torchvision, also where it cannot load its compiled operators.

A CPU wheel of torch beside the torchvision that was built for CUDA is such a place: the import
stops at `operator torchvision::nms does not exist`. Data sets and transforms need no compiled
operator, so there it is enough to declare the two that torchvision looks for.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_MISSING = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_libraries: list[Any] = []  # a Library that is collected takes its declarations with it


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its missing operators only where the import fails for them.

    Raises:
        ImportError, RuntimeError: where the import fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    _forget()
    _declare()
    return importlib.import_module("torchvision")


def _forget() -> None:
    """Drop what the failed import left half loaded, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare() -> None:
    torch: Any = importlib.import_module("torch")  # here, as it takes seconds few stages need
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(operator + _SIGNATURE)
    _libraries.append(library)
