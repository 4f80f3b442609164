"""The section `evaluate` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from powtwo.core.params import Count, Section


class Evaluate(Section):
    """How the integer network is measured."""

    batch_size: Count
    sqnr_images: Count
    sensitivity_images: Annotated[int, Field(ge=0)]
    zero_images: Count = 200
