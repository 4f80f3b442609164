"""The section `data` of params.yaml: which images, and of what shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from powtwo.core.params import Number, Section

SMALLEST, LARGEST = 8, 1024  # pixels a side

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Resize = Literal["crop", "pad"]  # how images of another aspect are brought to the size


def _is_size(size: Any) -> Any:
    """Require a number of pixels, or [height, width]; a `Union` would say each member's error."""
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(type(side) is int and SMALLEST <= side <= LARGEST for side in sides):
        raise ValueError(f"must be pixels a side, or [height, width], {SMALLEST} to {LARGEST}")
    return size


Size = Annotated[int | list[int], BeforeValidator(_is_size)]


class Source(Section):
    """Which images, of what shape, and how many of them are for validation.

    What older parameter files lack has the value that was the only one.
    """

    name: Literal["mnist5k", "cifar10", "images"]
    sha256: Sha256 | None
    path: str | None
    validation: Annotated[Number, Field(gt=0, lt=1)]
    size: Size = 32
    channels: Literal[3, 1] = 3
    resize: Resize = "crop"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape (C, H, W) that every image is brought to."""
        height, width = self.size if isinstance(self.size, list) else (self.size, self.size)
        return self.channels, height, width
