"""A scheme, as the section `schemes` of params.yaml has it: one way to integers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from powtwo.conversion.finetune import Finetune
from powtwo.core.params import Section
from powtwo.integer.rounding import Rounding

MOST_SHIFT_BITS = 4  # of a weight that is a power of two
LEAST_NONZERO_BITS = 3  # of one that cannot be 0

Bits = Annotated[int, Field(ge=2, le=8)]
AccumulatorBits = Annotated[int, Field(ge=8, le=32)]
WeightKind = Literal["uniform", "power_of_two", "power_of_two_nonzero"]


def _refuse_number(value: Any) -> Any:
    """Refuse a key that is a number: DVC cannot sort it among those that are text."""
    if isinstance(value, int):
        raise ValueError(f'must be text; put it in quotes: "{value}"')
    return value


LayerName = Annotated[
    str, BeforeValidator(_refuse_number), StringConstraints(pattern=r"^(first|last|[0-9]+)$")
]


class Quantizer(Section):
    """How one kind of tensor gets its exponents."""

    # Which names there are, observers.py knows: were it imported here, a new observer would make
    # every stage stale. `calibrate` refuses an unknown one before it looks at an image.
    observer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    bits: Bits = 8
    clamp: list[int] | None = None

    @field_validator("clamp")
    @classmethod
    def _ordered(cls, clamp: list[int] | None) -> list[int] | None:
        if clamp is not None and (len(clamp) != 2 or clamp[0] > clamp[1]):
            raise ValueError("must be [lowest exponent, highest exponent] or null")
        return clamp


class Weights(Quantizer):
    """How weights become codes."""

    # power_of_two: 0 or ±2^k; of `bits`, one is the sign, and the rest tell 2^(bits−1) − 1
    # exponents and 0 apart. power_of_two_nonzero: ±2^k with all 2^(bits−1) exponents, and no 0.
    kind: WeightKind = "uniform"
    per: Literal["tensor", "channel"] = "tensor"  # what has an exponent of its own
    rounding: Literal["nearest", "learned"] = "nearest"

    @field_validator("kind")
    @classmethod
    def _fits_int8(cls, kind: str, info: ValidationInfo) -> str:
        _check_shift_bits(kind, info.data.get("bits", MOST_SHIFT_BITS), "set bits")
        return kind


class Activations(Quantizer):
    """How activations become codes."""

    zero_point: int | None = None  # after ReLU: 0, or null for the middle of the codes

    @field_validator("zero_point")
    @classmethod
    def _is_free(cls, zero_point: int | None, info: ValidationInfo) -> int | None:
        middle = 2 ** (info.data.get("bits", 8) - 1)
        if zero_point not in (None, 0, middle):
            raise ValueError(f"must be 0 or the middle of the codes, here {middle} or null")
        return zero_point


class Accumulator(Section):
    """How wide accumulators are, and what happens to sums that would not fit."""

    bits: AccumulatorBits = 32
    # false: weights are restricted, so that every sum fits; true: sums are cut into tiles that fit,
    # each spilled into an int32, and weights stay as they are.
    tiles: bool = False


class LayerBits(Section):
    """The codes of one layer, where they differ from those of its scheme."""

    kind: WeightKind | None = None
    weights: Bits | None = None
    activations: Bits | None = None  # of its output
    accumulator: AccumulatorBits | None = None


def _check_shift_bits(kind: str, bits: int, remedy: str) -> None:
    if kind != "uniform" and bits > MOST_SHIFT_BITS:
        raise ValueError(
            f"{kind} has {bits} bits: at most {MOST_SHIFT_BITS}, so that its largest value, "
            f"2^6, is an int8; {remedy}"
        )
    if kind == "power_of_two_nonzero" and bits < LEAST_NONZERO_BITS:
        raise ValueError(
            f"{kind} has {bits} bits: 3 or 4, of which 3 have ±1 to ±8, and 4 have −2^7 to 2^6, as "
            f"2^7 is no int8; {remedy}"
        )


class Scheme(Section):
    """One way from the float network to integers."""

    weights: Weights
    activations: Activations
    rounding: Annotated[Rounding, Field(strict=False)] = Rounding.FLOOR
    bias: Literal["nearest", "floor"] = "nearest"
    logits: Literal["int32", "codes"] = "int32"
    equalize: bool = False
    bias_correction: bool = False
    accumulator: Accumulator | None = None
    layers: dict[LayerName, LayerBits] = Field(default_factory=dict)
    finetune: Finetune | None = None

    @field_validator("layers")
    @classmethod
    def _fit_int8(
        cls, layers: dict[LayerName, LayerBits], info: ValidationInfo
    ) -> dict[LayerName, LayerBits]:
        weights = info.data.get("weights")
        if weights is None:  # refused already
            return layers
        for name, layer in layers.items():
            remedy = f"give layer {name} at most {MOST_SHIFT_BITS} bits of weights, or kind uniform"
            _check_shift_bits(layer.kind or weights.kind, layer.weights or weights.bits, remedy)
        return layers

    def without_tiles(self) -> Scheme:
        """Return the scheme with one int32 sum where it has tiles, which gives the same."""
        if self.accumulator is None or not self.accumulator.tiles:
            return self
        layers = {
            name: layer.model_copy(update={"accumulator": None})
            for name, layer in self.layers.items()
        }
        return self.model_copy(update={"accumulator": None, "layers": layers})
