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

_libraries: list[Any] = []  # a Library that is collected takes its declarations with it


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its missing operators only where the import fails for them.

    Raises:
        ImportError, RuntimeError: where the import fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half loaded by the import that failed
    torch: Any = importlib.import_module("torch")  # whose Library has no types
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    return importlib.import_module("torchvision")
