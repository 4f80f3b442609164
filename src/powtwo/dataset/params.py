"""How a pixel becomes a number: keys of params.yaml, and what files say of it.

Read without PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from powtwo.core.params import Number, Section
from powtwo.core.strict import require

Normalize = Literal["dyadic", "standard"]  # how a pixel becomes a number, see normalization.py
Mean = Annotated[Number, Field(ge=0, le=1)]
Deviation = Annotated[Number, Field(ge=1e-4, le=1)]  # far less than a grey level is a slip


class Pixels(Section):
    """How a pixel becomes a number; mean and deviation in units of pixel / 255, by channel.

    What older parameter files lack is null, which was the only value.
    """

    normalize: Normalize
    mean: list[Mean] | None = None
    std: list[Deviation] | None = None

    @field_validator("mean", "std")
    @classmethod
    def _is_of_standard(
        cls, values: list[float] | None, info: ValidationInfo
    ) -> list[float] | None:
        if values is not None and info.data.get("normalize") == "dyadic":
            raise ValueError("must be null, for dyadic has none; or set normalize to standard")
        return values

    @field_validator("std")
    @classmethod
    def _comes_with_mean(cls, std: list[float] | None, info: ValidationInfo) -> list[float] | None:
        mean = info.data.get("mean")
        if "mean" in info.data and (mean is None) != (std is None):
            raise ValueError(f"must be null where mean is, and is {mean}; give both or neither")
        return std

    def check_channels(self, channels: int) -> None:
        """Require a number for each channel, where there are numbers.

        Raises:
            ValueError: naming the key, its value and the rule.
        """
        for key, values in (("mean", self.mean), ("std", self.std)):
            fits = values is None or len(values) == channels
            rule = f"must be {_numbers(channels)} for images of as many channels, or null"
            require(fits, f"data.{key}", values, rule)


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


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
