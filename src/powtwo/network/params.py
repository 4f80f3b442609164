"""The section `model` of params.yaml: the float network, by its layout or its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import field_validator

from powtwo.core.params import Count, Section

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
        return layout


def check_poolings(where: str, layout: Sequence[int | str], image: Sequence[int]) -> None:
    """Require that an image (C, H, W) can be halved as often as a layout does.

    Raises:
        ValueError: which begins with `where`, and has the value and the rule.
    """
    _, height, width = image
    pools, halvings = layout.count("M"), min(height, width).bit_length() - 1
    rule = f"has {pools} poolings; a {height}x{width} image can be halved {halvings} times"
    if pools > halvings:
        raise ValueError(f"{where} = {list(layout)}: {rule}")
