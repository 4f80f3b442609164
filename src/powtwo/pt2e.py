"""PowTwo's observers in torchao's PT2E flow; the only module that imports torchao.

    exported = torch.export.export(float_network(layers), (x,), strict=True).module()
    prepared = prepare_pt2e(exported, PowerOfTwoQuantizer(scheme))
    prepared(x)                                  # calibrate
    quantized = convert_pt2e(prepared)

Activations become uint8 with the zero point in the middle, weights int8, biases int32 on the grid
of the accumulator, 2^(e_x + e_w). PyTorch rounds half to even, so the codes are those of a scheme
with `rounding: half_even`.

Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/quantizer.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    DerivedQuantizationSpec,
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from powtwo.calibration.observers import Observer
from powtwo.conversion import scheme as schemes
from powtwo.conversion.scheme import Scheme
from powtwo.core.windows import pair, symmetric
from powtwo.integer.fixedpoint import Grid, power_of_two
from powtwo.integer.rounding import Rounding
from powtwo.network.folded import FoldedLayer

ANNOTATION = "quantization_annotation"  # where prepare_pt2e looks for it
WEIGHTED = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
RELU = torch.ops.aten.relu.default
UNCHANGED = (torch.ops.aten.max_pool2d.default, torch.ops.aten.flatten.using_ints)
INT32 = torch.iinfo(torch.int32)
AFFINE, SYMMETRIC = torch.per_tensor_affine, torch.per_tensor_symmetric
DYADIC = FixedQParamsQuantizationSpec(torch.uint8, 2.0**-7, 128, 0, 255, AFFINE)  # code = pixel


class PowerOfTwoObserver(MinMaxObserver):  # type: ignore[misc]  # torchao is untyped
    """A torchao observer whose scale is 2^e, with e chosen by a PowTwo observer.

    Args:
        observer: its name, as in `params.yaml`.
        clamp: lowest and highest exponent, or None.
        **kwargs: what torchao hands over: dtype (uint8 or int8), quant_min, quant_max, qscheme.
    """

    def __init__(
        self, observer: str = "minmax-ceil", clamp: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        zero_point = 0 if self.dtype == torch.int8 else (self.quant_max + 1) // 2
        grid = Grid(self.quant_min, self.quant_max, zero_point)
        self.observer = Observer(observer, grid, clamp)

    def forward(self, x: Tensor) -> Tensor:
        """Observe a tensor of any shape and hand it on unchanged."""
        observed: Tensor = super().forward(self.observer.forward(x))
        return observed

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return the scale 2^e, float32 (1,), and the zero point, int64 (1,)."""
        exponent, zero_point = self.observer.calculate_qparams()
        return power_of_two(exponent).float().view(1), torch.tensor([zero_point])


class PowerOfTwoQuantizer(Quantizer):  # type: ignore[misc]  # torchao is untyped
    """Annotates conv2d, linear, ReLU, max pooling and flattening for a scheme.

    Args:
        scheme: the observers and bits to use, and whether the logits become codes.
        dyadic: whether the input is pixel / 128 − 1, whose code is the pixel; otherwise the
            scheme's observer of activations chooses its exponent.

    Raises:
        ValueError: where the scheme has an option that PT2E cannot say.
    """

    def __init__(self, scheme: Scheme, dyadic: bool = True) -> None:
        super().__init__()
        _check(scheme)
        self.weights = _specification(scheme.weights, torch.int8)
        self.activations = _specification(scheme.activations, torch.uint8)
        self.logits = self.activations if scheme.logits == "codes" else None
        eight_bits = scheme.activations.model_copy(update={"bits": 8})
        self.pixels = DYADIC if dyadic else _specification(eight_bits, torch.uint8)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Say at each node of an exported graph how its inputs and its output are coded."""
        last = [node for node in model.graph.nodes if node.target in WEIGHTED][-1]
        for node in model.graph.nodes:
            if node.op == "placeholder":
                _annotate(node, {}, self.pixels)
            elif node.target in WEIGHTED:
                self._annotate_weighted(node, self.logits if node is last else self.activations)
            elif node.target in UNCHANGED:  # codes as they are
                shared = SharedQuantizationSpec(node.args[0])
                _annotate(node, {node.args[0]: shared}, shared)
        return model

    def validate(self, model: GraphModule) -> None:
        """Raise a TypeError that names an operator of the graph without a rule here."""
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target not in (*WEIGHTED, RELU, *UNCHANGED):
                raise TypeError(f"{node.target}: no rule for it; fold or remove it before export")

    def _annotate_weighted(self, node: Node, output: QuantizationSpec | None) -> None:
        x, weight, bias = node.all_input_nodes[:3]
        user = next(iter(node.users))
        if user.target == RELU:  # codes are taken after ReLU
            _annotate(user, {}, output)
            output = None
        inputs = {
            x: SharedQuantizationSpec(x),
            weight: self.weights,
            bias: DerivedQuantizationSpec(
                [(x, node), (weight, node)],
                _accumulator_qparams,
                torch.int32,
                INT32.min,
                INT32.max,
                SYMMETRIC,
            ),
        }
        _annotate(node, inputs, output)


def _check(scheme: Scheme) -> None:
    """Refuse what would change the integers and cannot be said here."""
    weights, zero_point = scheme.weights, scheme.activations.zero_point
    middle = 2 ** (scheme.activations.bits - 1)
    options = {
        f"weights.kind = {weights.kind}": weights.kind != "uniform",
        f"weights.per = {weights.per}": weights.per != "tensor",
        f"weights.rounding = {weights.rounding}": weights.rounding != "nearest",
        f"activations.zero_point = {zero_point}": zero_point not in (None, middle),
        f"bias = {scheme.bias}": scheme.bias != "nearest",
        "equalize = true": scheme.equalize,
        "bias_correction = true": scheme.bias_correction,
        "layers": bool(scheme.layers),
    }
    for option, used in options.items():
        if used:
            raise ValueError(f"{option}: PT2E has no word for it here; leave it out of the scheme")
    if scheme.rounding is not Rounding.HALF_EVEN:
        raise ValueError(
            f"rounding = {scheme.rounding}: PT2E's kernels round half to even; set half_even"
        )


def float_network(layers: Sequence[FoldedLayer]) -> nn.Sequential:
    """Build the float32 network (N, C, H, W) to (N, classes) of layers without batch norm.

    Raises:
        ValueError: where the layers are no stack of plain convolutions, poolings and products.
    """
    modules: list[nn.Module] = []
    for index, layer in enumerate(layers):
        modules.append(_module(index, layer))
        if layer.relu:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules).eval()


def _module(index: int, layer: FoldedLayer) -> nn.Module:
    padding = symmetric(layer.padding)
    plain = layer.inputs is None and layer.maximum is None and layer.groups == 1
    if not plain or padding is None or layer.kind in ("add", "avgpool2d"):
        raise ValueError(
            f"layer {index}: kind = {layer.kind!r}: PT2E gets stacks of plain convolutions, "
            "poolings and linear layers here; use the exports"
        )
    kernel, stride = pair(layer.kernel), pair(layer.stride)
    if layer.kind == "maxpool2d":
        return nn.MaxPool2d(kernel, stride, padding)
    if layer.kind == "flatten":
        return nn.Flatten()
    assert layer.weight is not None
    assert layer.bias is not None
    outputs, inputs = layer.weight.shape[:2]
    module: nn.Conv2d | nn.Linear = nn.Linear(inputs, outputs)
    if layer.kind == "conv2d":
        module = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    module.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    return module


def _specification(quantizer: schemes.Quantizer, dtype: torch.dtype) -> QuantizationSpec:
    signed = dtype == torch.int8
    grid = (Grid.of_weights if signed else Grid.of_activations)(quantizer.bits)
    observer = PowerOfTwoObserver.with_args(observer=quantizer.observer, clamp=quantizer.clamp)
    scheme = SYMMETRIC if signed else AFFINE
    return QuantizationSpec(dtype, observer, grid.quant_min, grid.quant_max, scheme)


def _accumulator_qparams(observed: Sequence[MinMaxObserver]) -> tuple[Tensor, Tensor]:
    """Put a bias on the grid of the accumulator, whose scale is the product of both."""
    (x, _), (weight, _) = (observer.calculate_qparams() for observer in observed)
    return x * weight, torch.zeros(1, dtype=torch.int64)


def _annotate(node: Node, inputs: dict[Node, Any], output: Any) -> None:
    node.meta[ANNOTATION] = QuantizationAnnotation(
        input_qspec_map=inputs, output_qspec=output, _annotated=True
    )
