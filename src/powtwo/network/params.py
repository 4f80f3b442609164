"""The section `model` of params.yaml: the float network, in one of four ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from powtwo.core.params import Count, Section

Name = Literal["resnet8", "dscnn", "mobilenet"]  # of `models`
WAYS = (("layout", "hidden"), ("name",), ("python", "function"), ("onnx",))
WRITTEN = ("models", "exports", "report", "logs", "metrics", "plots", "checkpoints")  # by stages


def _below_root(path: str) -> str:
    """Refuse a path that a clone of the repository would not have."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("must be a path relative to params.yaml and below its folder, with /")
    if parts[0] in WRITTEN:
        raise ValueError(f"lies in {parts[0]}/, which stages write; move it to a folder of its own")
    return path


Below = Annotated[str, Field(min_length=1), AfterValidator(_below_root)]


class Model(Section):
    """The float network: a stack of layers, one with a name, or one of the user's."""

    layout: list[Any] | None = None  # int: channels of a convolution; "M": a pooling
    hidden: list[Count] | None = None
    name: Name | None = None
    python: Below | None = None  # a file, whose function returns a torch.nn.Module
    function: str | None = None
    onnx: Below | None = None  # a file in float32

    @field_validator("layout")
    @classmethod
    def _fits(cls, layout: list[Any] | None) -> list[int | str] | None:
        if layout is None:
            return None
        known = [entry == "M" or (type(entry) is int and entry > 0) for entry in layout]
        if not layout or layout[0] == "M" or not all(known):
            raise ValueError("must list numbers of channels above 0 and M, a number first")
        return layout

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        said = [key for way in WAYS for key in way if getattr(self, key) is not None]
        if tuple(said) not in WAYS:
            ways = ", ".join(" and ".join(way) for way in WAYS)
            raise ValueError(
                f"has {' and '.join(said) or 'nothing'}; it must have one of: {ways}; remove what "
                "is too much, or add what is missing"
            )
        return self

    @property
    def files(self) -> list[str]:
        """Return the file of the user's that the network is read of, if it is."""
        return [path for path in (self.python, self.onnx) if path is not None]


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
