"""How a pixel becomes a number: the key `data.normalize` of params.yaml, and what files say of it.

Read without PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from powtwo.core.strict import require

Normalize = Literal["dyadic", "standard"]  # how a pixel becomes a number, see normalization.py


def check_normalization(
    where: str,
    kind: Normalize,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int,
) -> None:
    """Check what a file says of a normalization, in units of pixel / 255, by channel.

    Args:
        where: what an error begins with.
        kind: which.
        mean: of `standard` alone.
        std: the same.
        channels: of an image.

    Raises:
        ValueError: naming the key, its value and the rule.
    """
    for key, values, least in (("mean", mean, 0.0), ("std", std, math.ulp(0.0))):
        if kind == "dyadic":
            require(values is None, f"{where}{key}", values, "must be absent, as dyadic has none")
            continue
        rule = f"must be {channels} numbers, one for each channel"
        require(len(values or ()) == channels, f"{where}{key}", values, rule)
        rule = f"must be {'above ' if least else ''}0 to 1"
        require(all(least <= value <= 1 for value in values or ()), f"{where}{key}", values, rule)
