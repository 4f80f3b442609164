"""The CPU's int8 kernels, through plain uint8 and int8 tensors.

oneDNN computes clamp(round_half_even((a + bias) · 2^−n + z)) with an int32 sum a and the rest in
float32. A bias of b − 2^(n−1) + ½ makes that `floor`, b + ½ makes it `half_up`: the half removes
every tie. `fits` says when each float step is exact, or harmless because the code is clamped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import graph
from powtwo.core.windows import four, is_one_wide, pad_argument, pair, symmetric
from powtwo.engine.base import Engine
from powtwo.engine.floats import FloatStep
from powtwo.integer.fixedpoint import FLOAT32_EXACT
from powtwo.integer.layer import Layer, accumulate, pool_or_flatten, requantize_output
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

HALVES = FLOAT32_EXACT // 2  # below it float32 holds every multiple of one half
SATURATING_SHIFT = 14  # 2^23 / 2^14 = 512: beyond HALVES a code is clamped at either end
LARGEST_SHIFT = 15  # codes of 128 to 255 have steps of 2^−16 in float32, half a unit in 2^15


class Int8(Engine):
    """oneDNN's uint8 × int8 kernels; a layer that does not fit them runs on the reference."""

    name = "int8"

    def __init__(self, network: IntegerNetwork, device: str = "cpu") -> None:
        super().__init__(network, device)
        self.steps = [_step(network, layer) for layer in network.layers]

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output."""
        x = self.network.input.encode(pixels.contiguous(memory_format=torch.channels_last))
        yield from graph.evaluate(self.network.sources, {graph.IMAGE: x}, self.steps)

    def resume(self, values: Mapping[int, Tensor]) -> Iterator[Tensor]:
        """Yield each layer's output after those that there are."""
        return graph.evaluate(self.network.sources, dict(values), self.steps)


def fits(layer: Layer, rounding: Rounding) -> bool:
    """Tell whether the kernels are exact for a weighted layer, whatever its input.

    The sum of products and the bias must each be exact floats. Their total T must be exact too, or
    so large that rounding it cannot bring the code back from its clamp: float addition is monotone,
    and |T| ≥ 2^23 means |T| / 2^n ≥ 512 for n ≤ 14. Last, T / 2^n + z must be exact below 256.
    """
    assert layer.bias is not None
    if layer.output is None:
        return bool((layer.bound < FLOAT32_EXACT).all())
    constant = rounding.after_half_even(layer.shift)
    if constant is None:
        return False
    bias = (layer.bias + constant).abs()
    products = layer.bound - layer.half_unit - layer.bias.to(torch.int64).abs()
    exact = products + bias < torch.where(constant % 1 == 0, FLOAT32_EXACT, HALVES)
    saturates = (products < FLOAT32_EXACT) & (bias < HALVES) & (layer.shift <= SATURATING_SHIFT)
    return bool(((exact | saturates) & (layer.shift <= LARGEST_SHIFT)).all())


def _step(network: IntegerNetwork, layer: Layer) -> Callable[..., Tensor]:
    if not layer.accumulates:
        return lambda x: _pool_or_flatten(layer, x)
    if layer.kind == "add":
        return lambda *x: _add(layer, network.rounding, *x)
    if layer.kind == "avgpool2d":
        return _Average(layer, network.rounding)
    if fits(layer, network.rounding):
        return _Kernel(layer, network.rounding)
    return lambda x: requantize_output(layer, accumulate(layer, x), network.rounding)


def _pool_or_flatten(layer: Layer, x: Tensor) -> Tensor:
    """Pool 2x2 by comparing slices, since PyTorch's pooling refuses a large uint8 batch."""
    halves = pair(layer.kernel) == pair(layer.stride) == (2, 2) and not any(four(layer.padding))
    if layer.kind != "maxpool2d" or not halves:
        return pool_or_flatten(layer, x)
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]  # an odd last line is dropped
    rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _add(layer: Layer, rounding: Rounding, *codes: Tensor) -> Tensor:
    """Add in 16 bits where they hold every sum, in half the time of 32."""
    if int(layer.bound) >= 2**15 or layer.output is None or rounding is Rounding.HALF_EVEN:
        return requantize_output(layer, accumulate(layer, *codes), rounding)
    constant = rounding.bias_constant(layer.shift)
    assert constant is not None
    zero_points = sum(
        read.zero_point * gain for read, gain in zip(layer.reads, layer.gains, strict=True)
    )
    x, other = (
        code.to(torch.int16).mul_(gain) for code, gain in zip(codes, layer.gains, strict=True)
    )
    # Modulo 2^16, as these add, the sum is right: it fits once the zero points are off.
    sums = x.add_(other).add_(int(constant) - zero_points)
    sums.bitwise_right_shift_(int(layer.shift))
    zero_point = layer.output.zero_point
    low = 0 if layer.relu else layer.output.grid.quant_min - zero_point
    sums.clamp_(low, layer.largest_code - zero_point)  # before the zero point, which may not fit
    return sums.add_(zero_point).to(torch.uint8)


class _Average:
    """An average by float sums, which are exact."""

    def __init__(self, layer: Layer, rounding: Rounding) -> None:
        self.layer, self.step = layer, FloatStep(layer, rounding, torch.device("cpu"))

    def __call__(self, x: Tensor) -> Tensor:
        assert self.layer.input is not None
        x = self.step(x.to(torch.float32).sub_(self.layer.input.zero_point))
        output = self.layer.output
        return x.to(torch.int32) if output is None else x.add_(output.zero_point).to(torch.uint8)


class _Kernel:
    """A weighted layer as one oneDNN call: clamp(round_half_even((a + bias) / 2^n + z))."""

    def __init__(self, layer: Layer, rounding: Rounding) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        assert layer.input is not None
        shift = layer.shift if layer.output else torch.tensor(0)
        constant = rounding.after_half_even(shift)
        assert constant is not None, "`fits` said so"
        # Each channel's scale is 2^(n_max − n) and the output's 2^n_max, so that x / 2^n comes out.
        largest = int(shift.max())
        gains = (1 << (largest - shift)).float().expand(len(layer.weight)).contiguous()
        zero_points = torch.zeros(len(layer.weight), dtype=torch.int64)
        bias = (layer.bias + constant).float() * gains
        self.layer, self.rounding = layer, rounding
        self.input_zero_point = layer.input.zero_point
        self.sides = layer.weight.shape[2:], layer.stride, layer.padding
        sides: tuple[Any, ...] = ()
        self.padding: list[int] | None = None  # what the operator cannot say
        if layer.kind == "conv2d":
            padding = symmetric(layer.padding)
            if padding is None:
                padding, self.padding = (0, 0), pad_argument(layer.padding)
            sides = ([*pair(layer.stride)], [*padding], [1, 1], layer.groups)
            self.operator = torch.ops.onednn.qconv2d_pointwise
            packing = (layer.weight, gains, 1.0, self.input_zero_point, *sides, None)
            weight = torch.ops.onednn.qconv_prepack(*packing)
        else:
            self.operator = torch.ops.onednn.qlinear_pointwise
            weight = torch.ops.onednn.qlinear_prepack(layer.weight, None)
        coded = (layer.output.zero_point, torch.uint8) if layer.output else (0, torch.float32)
        output = (float(2**largest), *coded)
        self.arguments = (weight, gains, zero_points, bias, *sides, *output, "none", [], "")

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        if layer.kind == "conv2d" and is_one_wide(x.shape[-1], *self.sides):
            return requantize_output(layer, accumulate(layer, x), self.rounding)
        if self.padding is not None:
            x = F.pad(x, self.padding, value=self.input_zero_point)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.operator(x, 1.0, self.input_zero_point, *self.arguments)
        output = self.layer.output
        if output is None:
            return x.clamp_(min=0).to(torch.int32) if self.layer.relu else x.to(torch.int32)
        low = output.zero_point if self.layer.relu else 0
        if low > 0 or self.layer.largest_code < 255:
            x = x.clamp_(low, self.layer.largest_code)
        return x
