"""What the metadata of an integer network's file may say: docs/integer-file.md as types.

Each value is bounded on its own here; `checks` holds them against each other and the tensors. It is
read without PyTorch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag

from powtwo.core.params import SchemeName
from powtwo.core.strict import Part
from powtwo.dataset.params import Normalize
from powtwo.integer.rounding import Rounding

# 2^e is a float64, and so is the product of two. Weights of float32 need a tenth of it.
MAX_EXPONENT = 500
MAX_SHIFT = 31  # of an int32 accumulator

Size = Annotated[int, Field(ge=1, le=2**16)]
Padding = Annotated[int, Field(ge=0, le=2**16)]
Bits = Annotated[int, Field(ge=2, le=8)]
AccumulatorBits = Annotated[int, Field(ge=8, le=31)]  # fewer than those of int32
Spills = Annotated[int, Field(ge=1, le=2**48)]  # tiles of all output channels
ShiftBits = Annotated[int, Field(ge=2, le=4)]  # of 0 and ±2^k: the largest, 2^6, is an int8
ZeroPoint = Annotated[int, Field(ge=0, le=255)]
Exponent = Annotated[int, Field(ge=-MAX_EXPONENT, le=MAX_EXPONENT)]
Shift = Annotated[int, Field(ge=0, le=MAX_SHIFT)]
Name = Annotated[str, Field(min_length=1)]
Classes = Annotated[list[Name], Field(min_length=1, max_length=2**16, fail_fast=True)]
Channels = Annotated[list[float], Field(max_length=2**16, fail_fast=True)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def width(kind: str, code_bits: int) -> int:
    """Return the bits of the integer that holds a weight of so many bits.

    2^6, the largest of 0 and ±2^k in 4 bits, is an int8, and so is −2^7, the least without 0.
    """
    if kind == "uniform":
        return code_bits
    exponents: int = 2 ** (code_bits - 1)  # 0 to one less, and, where 0 has a code, to two less
    return exponents if kind == "power_of_two" else min(exponents + 1, 8)


def _form(value: Any) -> str:
    return "each channel" if isinstance(value, list) else "all channels"


_BY_CHANNEL = Field(min_length=1, max_length=2**16, fail_fast=True)
Exponents = Annotated[
    Annotated[Exponent, Tag("all channels")]
    | Annotated[list[Exponent], _BY_CHANNEL, Tag("each channel")],
    Discriminator(_form),
]
Shifts = Annotated[
    Annotated[Shift, Tag("all channels")]
    | Annotated[list[Shift], _BY_CHANNEL, Tag("each channel")],
    Discriminator(_form),
]


def _sides(value: Any) -> str:
    return "each side" if isinstance(value, list) else "all sides"


# A number, or [rows, columns]; a padding may be [top, left, bottom, right].
Sides = Annotated[
    Annotated[Size, Tag("all sides")]
    | Annotated[list[Size], Field(min_length=2, max_length=2), Tag("each side")],
    Discriminator(_sides),
]
Paddings = Annotated[
    Annotated[Padding, Tag("all sides")]
    | Annotated[list[Padding], Field(min_length=2, max_length=4), Tag("each side")],
    Discriminator(_sides),
]
Index = Annotated[int, Field(ge=-1, le=1000)]  # of a layer; -1 is the image
Inputs = Annotated[list[Index], Field(min_length=1, max_length=2)]


_TWO = Field(min_length=2, max_length=2)


class Codes(NamedTuple):
    """How an activation is coded."""

    exponent: int
    zero_point: int
    bits: int


class Input(Part):
    """The pixels, and how they become codes."""

    shape: Annotated[list[Size], Field(min_length=3, max_length=3)]  # C, H, W
    exponent: Exponent
    zero_point: ZeroPoint
    bits: Bits
    normalize: Normalize
    mean: Channels | None = None
    std: Channels | None = None

    @property
    def codes(self) -> Codes:
        """Return how the pixels are coded."""
        return Codes(self.exponent, self.zero_point, self.bits)


class AnyLayer(Part):
    """What every layer may say."""

    kind: str
    inputs: Inputs | None = None  # indices of earlier layers; None: the layer before


class Flatten(AnyLayer):
    """(C, H, W) to (features,)."""

    kind: Literal["flatten"]


class MaxPool2d(AnyLayer):
    """A window, of which the largest code remains."""

    kind: Literal["maxpool2d"]
    kernel: Sides
    stride: Sides
    padding: Paddings = 0


class Accumulating(AnyLayer):
    """What layers have in common that add up and requantize."""

    relu: bool
    maximum: ZeroPoint | None = None  # the largest code, where it is not that of the bits
    input_exponent: Any  # of a type that the kind says
    input_zero_point: Any
    input_bits: Any
    output: Literal["codes", "int32"]
    output_exponent: Exponent | None = None
    output_zero_point: ZeroPoint | None = None
    output_bits: Bits | None = None
    shift: Shifts | None = None
    accumulator_bits: AccumulatorBits | None = None  # None: 32
    spills: Spills | None = None  # None: no tiles

    @property
    def reads(self) -> tuple[Codes, ...]:
        """Return how the layer takes each input to be coded."""
        keys = (self.input_exponent, self.input_zero_point, self.input_bits)
        if isinstance(self, Add):
            return tuple(Codes(*each) for each in zip(*keys, strict=True))
        return (Codes(*keys),)

    @property
    def gives(self) -> Codes | None:
        """Return how its output is coded; None where it gives accumulators."""
        if self.output == "int32":
            return None
        assert self.output_exponent is not None
        assert self.output_zero_point is not None
        assert self.output_bits is not None
        return Codes(self.output_exponent, self.output_zero_point, self.output_bits)


class OfOne(Accumulating):
    """What layers have in common that add up one input."""

    input_exponent: Exponent
    input_zero_point: ZeroPoint
    input_bits: Bits


class Weighted(OfOne):
    """What layers have in common that multiply and accumulate."""

    weight_bits: Bits
    weight_exponent: Exponents
    weight_kind: Literal["power_of_two", "power_of_two_nonzero"] | None = None
    weight_code_bits: ShiftBits | None = None


class Conv2d(Weighted):
    """A convolution."""

    kind: Literal["conv2d"]
    kernel: Sides
    stride: Sides
    padding: Paddings
    groups: Size = 1


class Linear(Weighted):
    """A matrix product."""

    kind: Literal["linear"]


class AvgPool2d(OfOne):
    """A window whose codes are added up; a padded position counts."""

    kind: Literal["avgpool2d"]
    kernel: Sides
    stride: Sides
    padding: Paddings


class Add(Accumulating):
    """The sum of two layers, on the finer of their scales."""

    kind: Literal["add"]
    input_exponent: Annotated[list[Exponent], _TWO]
    input_zero_point: Annotated[list[ZeroPoint], _TWO]
    input_bits: Annotated[list[Bits], _TWO]


Layer = Annotated[
    Conv2d | Linear | Add | MaxPool2d | AvgPool2d | Flatten, Field(discriminator="kind")
]


class Network(Part):
    """The whole of it."""

    format: int
    scheme: SchemeName
    rounding: Annotated[Rounding, Field(strict=False)]
    classes: Classes
    input: Input
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000, fail_fast=True)]
    sha256: Sha256 | None = None
