"""The section `train` of params.yaml: the recipe of the float network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from powtwo.core.params import Count, Fraction, NotNegative, Number, Positive, Section
from powtwo.core.strict import require

MAX_ERASED = 0.29  # of an image's area, see Augment


class Augment(Section):
    """Random changes of training images, one draw for each image, in this order."""

    crop: Annotated[int, Field(ge=0)]
    padding: Literal["constant", "reflect"]  # black, or the image mirrored at its border
    flip: Literal["none", "random", "alternating"]
    rotation: Annotated[Number, Field(ge=0, le=180)]
    erasing: Annotated[Number, Field(ge=0, le=1)]
    erasing_scale: list[Number]
    cutout: Annotated[int, Field(ge=0)]

    @field_validator("erasing_scale")
    @classmethod
    def _fits(cls, scale: list[float]) -> list[float]:
        # The longest rectangle is 3.3 times as long as wide: of a larger area it would not fit,
        # and draws would have to be repeated.
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= MAX_ERASED:
            raise ValueError(f"must be [smallest, largest] with 0 < both <= {MAX_ERASED}")
        return scale

    def check_image(self, image: Sequence[int]) -> None:
        """Require that what is cropped and cut out fits an image (C, H, W).

        Raises:
            ValueError: naming the key, its value and the rule.
        """
        _, *sides = image
        rule = f"must be at most {{}} for images of {sides[0]}x{sides[1]}"
        for key, value, most in (
            ("crop", self.crop, min(sides) // 2),
            ("cutout", self.cutout, min(sides)),
        ):
            require(value <= most, f"train.augment.{key}", value, rule.format(most))


class Train(Section):
    """The recipe of the float network."""

    epochs: Annotated[int, Field(ge=0)]  # 0: the network as it is
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    learning_rate: Positive
    momentum: Fraction
    nesterov: bool
    weight_decay: NotNegative
    decay: Literal["all", "weights"]
    schedule: Literal["one_cycle", "cosine", "plateau"]
    warmup: Fraction
    final_learning_rate: NotNegative
    label_smoothing: Fraction
    average: Fraction
    patience: Annotated[int, Field(ge=0)]
    augment: Augment
    precision: Literal["auto", "bfloat16", "float32"]
    device: Literal["cpu", "cuda"]
    threads: Count
    processes: Count

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("needs a momentum above 0")
        if nesterov and info.data.get("optimizer") == "adam":
            raise ValueError("is for optimizer sgd; set it to false")
        return nesterov

    @field_validator("final_learning_rate")
    @classmethod
    def _descends(cls, final: float, info: ValidationInfo) -> float:
        if final >= info.data.get("learning_rate", float("inf")):
            raise ValueError("must be below learning_rate")
        return final

    @field_validator("processes")
    @classmethod
    def _shares_evenly(cls, processes: int, info: ValidationInfo) -> int:
        if info.data.get("batch_size", processes) % processes:
            raise ValueError("must divide batch_size, so that each process has an equal share")
        return processes
