"""Typed parameters: everything that `params.yaml` may say, and what is refused.

One model describes the file. A key that is unknown, of the wrong type or of an impossible value
stops before any work, with one line that names the key, its value and the rule.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

IMAGE_SIZE = 32  # pixels a side; every data source is brought to it
MAX_ERASED = 0.29  # of an image's area, see Augment
MOST_SHIFT_BITS = 4  # of a weight that is a power of two

_YAML_1_2_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


class ParamsError(ValueError):
    """`params.yaml` says something that cannot be: one line with key, value and rule."""


def _read_exponent(value: Any) -> Any:
    """Turn `1e-3` into a float: PyYAML (YAML 1.1) reads it as a string, DVC (1.2) as a number."""
    if isinstance(value, str) and _YAML_1_2_FLOAT.fullmatch(value):
        return float(value)
    return value


def _refuse_number(value: Any) -> Any:
    """Refuse a key that is a number: DVC cannot sort it among those that are text."""
    if isinstance(value, int):
        raise ValueError(f'must be text; put it in quotes: "{value}"')
    return value


Number = Annotated[float, BeforeValidator(_read_exponent), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Bits = Annotated[int, Field(ge=2, le=8)]
WeightKind = Literal["uniform", "power_of_two"]
LayerName = Annotated[
    str, BeforeValidator(_refuse_number), StringConstraints(pattern=r"^(first|last|[0-9]+)$")
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """A section: strict types, no unknown keys, read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Model):
    """Which images, and how a pixel becomes a number."""

    name: Literal["mnist5k", "cifar10", "images"]
    sha256: Sha256 | None
    path: str | None
    validation: Annotated[Number, Field(gt=0, lt=1)]
    normalize: Literal["dyadic", "standard"]


class Network(Model):
    """The float network's layout (`model` in the file)."""

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


class Augment(Model):
    """Random changes of training images, one draw for each image, in this order."""

    crop: Annotated[int, Field(ge=0, le=IMAGE_SIZE // 2)]
    padding: Literal["constant", "reflect"]
    flip: Literal["none", "random", "alternating"]
    rotation: Annotated[Number, Field(ge=0, le=180)]
    erasing: Annotated[Number, Field(ge=0, le=1)]
    erasing_scale: list[Number]
    cutout: Annotated[int, Field(ge=0, le=IMAGE_SIZE)]

    @field_validator("erasing_scale")
    @classmethod
    def _fits(cls, scale: list[float]) -> list[float]:
        # The longest rectangle is 3.3 times as long as wide: of a larger area it would not fit,
        # and draws would have to be repeated.
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= MAX_ERASED:
            raise ValueError(f"must be [smallest, largest] with 0 < both <= {MAX_ERASED}")
        return scale


class Train(Model):
    """The recipe of the float network."""

    epochs: Count
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


class Calibrate(Model):
    """The training images that observers see."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    images: Count
    batch_size: Count


class Quantizer(Model):
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
    # exponents and 0 apart.
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


class LayerBits(Model):
    """The codes of one layer, where they differ from those of its scheme."""

    kind: WeightKind | None = None
    weights: Bits | None = None
    activations: Bits | None = None  # of its output


def _check_shift_bits(kind: str, bits: int, remedy: str) -> None:
    if kind == "power_of_two" and bits > MOST_SHIFT_BITS:
        raise ValueError(
            f"power_of_two has {bits} bits: at most {MOST_SHIFT_BITS}, so that its largest value, "
            f"2^6, is an int8; {remedy}"
        )


class Scheme(Model):
    """One way from the float network to integers."""

    weights: Weights
    activations: Activations
    rounding: Literal["floor", "half_up", "half_even"] = "floor"
    bias: Literal["nearest", "floor"] = "nearest"
    logits: Literal["int32", "codes"] = "int32"
    equalize: bool = False
    bias_correction: bool = False
    layers: dict[LayerName, LayerBits] = {}

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


class Evaluate(Model):
    """How the integer network is measured."""

    batch_size: Count
    sqnr_images: Count
    sensitivity_images: Annotated[int, Field(ge=0)]


class Energy(Model):
    """How operations and memory are priced."""

    # Which tables and places there are, their files say; the stage refuses an unknown one.
    table: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    zero_point: Literal["per_use", "per_input", "folded", "msb_flip"]
    all_widths: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = None
    memory: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = None
    weights_in: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")] = "dram"
    activations_in: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")] = "sram_1mb"


SchemeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Export(Model):
    """What leaves the project, and for which schemes."""

    schemes: list[SchemeName]
    images: Count
    formats: list[Literal["c99", "memory", "course", "onnx", "qdq", "qonnx"]]


class Params(Model):
    """The whole of `params.yaml`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    model: Network
    train: Train
    calibrate: Calibrate
    schemes: Annotated[dict[SchemeName, Scheme], Field(min_length=1)]
    evaluate: Evaluate
    energy: Energy
    export: Export

    @field_validator("export")
    @classmethod
    def _exports_known_schemes(cls, export: Export, info: ValidationInfo) -> Export:
        unknown = [name for name in export.schemes if name not in info.data.get("schemes", name)]
        if unknown:
            raise ValueError(f"schemes: {unknown[0]!r} is no scheme; add it or leave it out")
        return export


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: where the file is no YAML mapping, or a value breaks a rule.
        FileNotFoundError: where there is no such file.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return parse(values, str(path))


def parse(values: Any, source: str = "params.yaml") -> Params:
    """Check a nested mapping; `source` is what an error calls it."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(f"{source}: {_one_line(error)}") from None


def select(values: Any, key: str) -> Any:
    """Return what a dotted key, such as `schemes.lab`, names in nested mappings."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            raise ParamsError(f"params.yaml: {key}: no such key; add it")
        values = values[part]
    return values


def _one_line(error: ValidationError) -> str:
    """Say the first thing that is wrong as `key = value: rule`."""
    first, *others = error.errors()
    key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "file"
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        rule = "unknown key; " + _suggestion(first["loc"])
    if first["type"] == "missing":
        return f"{key}: missing; add it" + _more(others)
    return f"{key} = {first['input']!r}: {rule}" + _more(others)


def _more(others: list[Any]) -> str:
    return f" (and {len(others)} more)" if others else ""


def _suggestion(location: tuple[int | str, ...]) -> str:
    """Name the known key that an unknown one most resembles."""
    known = sorted({name for model in _models(Model) for name in model.model_fields})
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]!r}?" if close else "remove it"


def _models(base: type[Model]) -> list[type[Model]]:
    """List the sections, and those that extend another."""
    return [base, *(model for section in base.__subclasses__() for model in _models(section))]
