"""The section `model` of params.yaml: the float network, by its layout or its name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from powtwo.core.params import Count, Section
from powtwo.dataset.images import IMAGE_SIZE

Name = Literal["resnet8", "dscnn", "mobilenet"]  # of `models`


class Model(Section):
    """The layers of the float network: those of `layout` and `hidden`, unless it has a name."""

    name: Name | None = None
    layout: list[Any]  # int: channels of a convolution; "M": a pooling
    hidden: list[Count]

    @field_validator("layout")
    @classmethod
    def _fits(cls, layout: list[Any]) -> list[int | str]:
        known = [entry == "M" or (type(entry) is int and entry > 0) for entry in layout]
        if not layout or layout[0] == "M" or not all(known):
            raise ValueError("must list numbers of channels above 0 and M, a number first")
        pools, halvings = layout.count("M"), IMAGE_SIZE.bit_length() - 1
        if pools > halvings:
            raise ValueError(
                f"has {pools} poolings; a {IMAGE_SIZE}x{IMAGE_SIZE} image can be halved "
                f"{halvings} times"
            )
        return layout
