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

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
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
from powtwo.core import graph
from powtwo.core.windows import pad_argument, pair, symmetric
from powtwo.integer.fixedpoint import Grid, power_of_two
from powtwo.integer.rounding import Rounding
from powtwo.network.folded import FoldedLayer

ANNOTATION = "quantization_annotation"  # where prepare_pt2e looks for it
ATEN = torch.ops.aten
WEIGHTED = (ATEN.conv2d.default, ATEN.linear.default)
WEIGHTLESS = (ATEN.add.Tensor, ATEN.avg_pool2d.default)
CUTS = (ATEN.relu.default, ATEN.hardtanh.default)  # ReLU and ReLU6
UNCHANGED = (ATEN.max_pool2d.default, ATEN.flatten.using_ints, ATEN.pad.default)
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
    """Annotates the operators of `float_network` for a scheme.

    Additions and averages dequantize codes, add floats and quantize: exact, as float32 holds sums
    of codes that are not 2^15 times apart. Exponents that conversion would move stay here.

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
        sums = [node for node in model.graph.nodes if node.target in (*WEIGHTED, *WEIGHTLESS)]
        for node in model.graph.nodes:
            if node.op == "placeholder":
                _annotate(node, {}, self.pixels)
            elif node in sums:
                output = self.logits if node is sums[-1] else self.activations
                self._annotate_sum(node, output)
            elif node.target in UNCHANGED and (node < sums[-1] or self.logits):  # codes as they are
                shared = SharedQuantizationSpec(node.args[0])
                _annotate(node, {node.args[0]: shared}, shared)
        return model

    def validate(self, model: GraphModule) -> None:
        """Raise a TypeError that names an operator of the graph without a rule here."""
        known = (*WEIGHTED, *WEIGHTLESS, *CUTS, *UNCHANGED)
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target not in known:
                raise TypeError(f"{node.target}: no rule for it; fold or remove it before export")

    def _annotate_sum(self, node: Node, output: QuantizationSpec | None) -> None:
        inputs = self._weighted(node) if node.target in WEIGHTED else _shared(node)
        user = next(iter(node.users))
        if user.target in CUTS:  # codes are taken after ReLU
            _annotate(user, {}, output)
            output = None
        _annotate(node, inputs, output)

    def _weighted(self, node: Node) -> dict[Node, Any]:
        """Say how the inputs of a layer with weights are coded."""
        x, weight, bias = node.all_input_nodes[:3]
        of_bias = DerivedQuantizationSpec(
            [(x, node), (weight, node)],
            _accumulator_qparams,
            torch.int32,
            INT32.min,
            INT32.max,
            SYMMETRIC,
        )
        return {x: SharedQuantizationSpec(x), weight: self.weights, bias: of_bias}


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


class _FloatNetwork(nn.Module):
    """Modules of the layers with weights, named by their index, and what each layer reads."""

    def __init__(self, layers: Sequence[FoldedLayer]) -> None:
        super().__init__()
        self._sources = graph.sources(layers)
        self._layers = [replace(layer, weight=None, bias=None) for layer in layers]
        for index, layer in enumerate(layers):
            if (module := _module(index, layer)) is not None:
                self.add_module(str(index), module)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        steps = [partial(self._step, index) for index in range(len(self._layers))]
        return deque(graph.evaluate(self._sources, {graph.IMAGE: x}, steps), maxlen=1).pop()

    def _step(self, index: int, *inputs: Tensor) -> Tensor:
        layer, module = self._layers[index], self._modules.get(str(index))
        if module is None:
            x = layer.without_relu(*inputs)
        else:
            (x,) = inputs
            if symmetric(layer.padding) is None:
                x = F.pad(x, pad_argument(layer.padding))
            x = module(x)
        if layer.maximum is not None:
            return F.hardtanh(x, 0.0, layer.maximum)
        return x.relu() if layer.relu else x


def float_network(layers: Sequence[FoldedLayer]) -> nn.Module:
    """Build the float32 network (N, C, H, W) to (N, classes) of layers without batch norm.

    Raises:
        ValueError: where a max pooling has a padding that PyTorch's has not.
    """
    return _FloatNetwork(layers).eval()


def _module(index: int, layer: FoldedLayer) -> nn.Module | None:
    """Return the module of a layer that needs one: weights, or a padding that is no number."""
    sides, padding = (pair(layer.kernel), pair(layer.stride)), symmetric(layer.padding)
    if layer.kind == "maxpool2d":
        # Padded with -inf before, it would have observers see that.
        halves = padding and all(2 * p <= k for p, k in zip(padding, sides[0], strict=True))
        if padding is None or not halves:
            raise ValueError(
                f"layer {index}: padding = {layer.padding}: PT2E's max pooling takes at most half "
                "of the kernel, the same on opposite sides; use the exports"
            )
        return nn.MaxPool2d(*sides, padding)
    if layer.weight is None:
        return None
    assert layer.bias is not None
    outputs, inputs = layer.weight.shape[:2]
    module: nn.Conv2d | nn.Linear = nn.Linear(inputs, outputs)
    if layer.kind == "conv2d":  # padded before, where sides differ
        inputs, padding = inputs * layer.groups, padding or (0, 0)
        module = nn.Conv2d(inputs, outputs, *sides, padding, groups=layer.groups)
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


def _shared(node: Node) -> dict[Node, Any]:
    """Say that inputs are coded as what gives them."""
    return {x: SharedQuantizationSpec(x) for x in node.all_input_nodes}


def _annotate(node: Node, inputs: dict[Node, Any], output: Any) -> None:
    node.meta[ANNOTATION] = QuantizationAnnotation(
        input_qspec_map=inputs, output_qspec=output, _annotated=True
    )
