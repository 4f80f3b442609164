"""The section `data` of params.yaml: which images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from powtwo.core.params import Number, Section

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Source(Section):
    """Which images, and how many of them are for validation."""

    name: Literal["mnist5k", "cifar10", "images"]
    sha256: Sha256 | None
    path: str | None
    validation: Annotated[Number, Field(gt=0, lt=1)]
