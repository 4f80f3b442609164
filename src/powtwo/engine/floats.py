"""Integers through float convolutions: exact while no sum passes the mantissa."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import graph
from powtwo.core.windows import four, is_one_wide, pad_argument, pair
from powtwo.engine.base import Engine
from powtwo.integer.fixedpoint import FLOAT32_EXACT, by_channel, power_of_two
from powtwo.integer.layer import ActivationQParams, Layer, convolve
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding


class Float(Engine):
    """Float32 convolutions on integers, in as many parts as keep each sum exact.

    A float64 convolution would be exact at once, and takes several times as long, since fast
    kernels know float32 alone. Between layers it keeps x̄ − z as floats, so that padding is 0 and
    no zero point is subtracted.
    """

    name = "float"

    def __init__(self, network: IntegerNetwork, device: str = "cpu") -> None:
        super().__init__(network, device)
        self.steps = [FloatStep(layer, network.rounding, self.device) for layer in network.layers]

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output."""
        for x, codes in self._floats(pixels):
            yield _integers(x, codes)

    def resume(self, values: Mapping[int, Tensor]) -> Iterator[Tensor]:
        """Yield each layer's output after those that there are."""
        floats = {}
        for index, codes in values.items():
            qparams = self.network.codes(index)
            assert qparams is not None, "nothing reads accumulators"
            floats[index] = codes.to(self.device, torch.float32) - qparams.zero_point
        for x, read in self._from(floats):
            yield _integers(x, read)

    def _logits(self, pixels: Tensor) -> Tensor:
        return _integers(*deque(self._floats(pixels), maxlen=1).pop())

    def _floats(self, pixels: Tensor) -> Iterator[tuple[Tensor, ActivationQParams | None]]:
        """Yield each layer's output as centered floats, and the codes that they stand for."""
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        x = (
            self.network.input.encode(pixels).to(torch.float32)
            - self.network.input.codes.zero_point
        )
        yield from self._from({graph.IMAGE: x})

    def _from(self, values: dict[int, Tensor]) -> Iterator[tuple[Tensor, ActivationQParams | None]]:
        start = max(values) + 1
        outputs = graph.evaluate(self.network.sources, values, self.steps)
        for index, output in enumerate(outputs, start):
            yield output, self.network.codes(index)


class FloatStep:
    """A layer prepared for floats."""

    def __init__(self, layer: Layer, rounding: Rounding, device: torch.device) -> None:
        self.layer, self.rounding = layer, rounding
        if not layer.accumulates:
            return
        whole = int(layer.bound.max()) < FLOAT32_EXACT
        self.dtype = torch.float32 if whole else torch.float64
        self.bias = torch.zeros((), dtype=self.dtype, device=device)
        if layer.weight is not None:
            self._prepare_weights(layer.weight, whole, device)
        if layer.output is not None:
            self._prepare_shift(layer, layer.output)

    def _prepare_weights(self, weight: Tensor, whole: bool, device: torch.device) -> None:
        assert self.layer.bias is not None
        # Parts of grouped channels would have to be cut in every group: those run in float64.
        apart = not whole and self.layer.groups == 1
        self.parts = exact_parts(self.layer) if apart else [slice(None)]
        dtype = torch.float32 if apart else self.dtype
        form = torch.channels_last if self.layer.kind == "conv2d" else torch.contiguous_format
        self.weights = [
            weight[:, part].to(device, dtype).contiguous(memory_format=form) for part in self.parts
        ]
        self.bias = self.layer.bias.to(device, self.dtype)

    def _prepare_shift(self, layer: Layer, output: ActivationQParams) -> None:
        # Scaling by 2^−n is exact, so floor and round see what the integers are.
        # An output has as many dimensions as the weight: (N, O, H, W), or (N, O).
        shift = layer.shift
        if layer.weight is not None:
            shift = by_channel(shift, layer.weight.dim())
        self.scale = power_of_two(-shift).to(self.bias)
        self.round_ = self.rounding.steps_
        if (constant := self.rounding.bias_constant(layer.shift)) is not None:
            self.bias = self.bias + constant.to(self.bias)
            self.round_ = Rounding.FLOOR.steps_
        self.low = 0 if layer.relu else output.grid.quant_min - output.zero_point
        self.high = layer.largest_code - output.zero_point

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Apply the layer to centered codes, as float32, of each input."""
        layer = self.layer
        if layer.accumulates:
            return self._requantize(self._accumulate(*inputs))
        return inputs[0].flatten(1) if layer.kind == "flatten" else self._pool(*inputs)

    def _pool(self, x: Tensor) -> Tensor:
        kernel, stride = pair(self.layer.kernel), pair(self.layer.stride)
        if any(four(self.layer.padding)):
            x = F.pad(x, pad_argument(self.layer.padding), value=-torch.inf)
        return F.max_pool2d(x, kernel, stride)

    def _accumulate(self, *inputs: Tensor) -> Tensor:
        """Return the accumulators, float32 where that holds their bound, else float64."""
        if self.layer.kind == "add":
            x, other = (
                each.to(self.dtype) * gain
                for each, gain in zip(inputs, self.layer.gains, strict=True)
            )
            return x.add_(other).add_(self.bias)
        (x,) = inputs
        if self.layer.kind == "avgpool2d":
            return self._add_up(x.to(self.dtype)).add_(self.bias)
        if self.weights[0].dtype == self.dtype:
            return self._sum(x.to(self.dtype), self.weights[0], self.bias)
        total = by_channel(self.bias, x.dim())
        for part, weight in zip(self.parts, self.weights, strict=True):
            total = total + self._sum(x[:, part], weight)
        return total

    def _add_up(self, x: Tensor) -> Tensor:
        """Return the sum of each window."""
        kernel, stride = pair(self.layer.kernel), pair(self.layer.stride)
        x = F.pad(x, pad_argument(self.layer.padding))
        return F.avg_pool2d(x, kernel, stride, divisor_override=1)

    def _sum(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.layer.kind == "linear":
            return F.linear(x, weight, bias)
        sides = weight.shape[2:], self.layer.stride, self.layer.padding
        if is_one_wide(x.shape[-1], *sides):  # float64 has a kernel of PyTorch's own
            bias = bias if bias is None else bias.double()
            return convolve(x.double(), weight.double(), bias, self.layer).to(x.dtype)
        # cuDNN may pick Winograd or TF32, which are not exact; without it PyTorch multiplies
        # matrices. On the CPU the flag changes nothing, and oneDNN convolves directly.
        with torch.backends.cudnn.flags(enabled=False):
            return convolve(x, weight, bias, self.layer)

    def _requantize(self, accumulators: Tensor) -> Tensor:
        if self.layer.output is None:
            return accumulators.clamp_(min=0) if self.layer.relu else accumulators
        rounded = self.round_(accumulators.mul_(self.scale))
        return rounded.clamp_(self.low, self.high).to(torch.float32)


def exact_parts(layer: Layer) -> list[slice]:
    """Split a layer's input channels so that float32 holds every sum of products of each part.

    Raises:
        ValueError: where one input channel is too much, as with 8 bits and a kernel of 23 × 23.
    """
    assert layer.weight is not None
    weight = layer.weight.to(torch.int64).abs()
    sums = weight.view(*weight.shape[:2], -1).sum(2) * layer.largest_input  # (O, I)
    if int(sums.max()) >= FLOAT32_EXACT:
        raise ValueError(
            f"one input channel's products can reach {int(sums.max())}: float32 is exact below "
            f"{FLOAT32_EXACT}; use the reference"
        )
    starts, total = [0], torch.zeros(len(sums), dtype=torch.int64)
    for channel, column in enumerate(sums.T):
        total = total + column
        if int(total.max()) >= FLOAT32_EXACT:
            starts.append(channel)
            total = column
    return [slice(*ends) for ends in pairwise([*starts, len(sums.T)])]


def _integers(x: Tensor, codes: ActivationQParams | None) -> Tensor:
    """Return the uint8 codes of centered floats, or int32 where there are no codes."""
    return x.to(torch.int32) if codes is None else (x + codes.zero_point).to(torch.uint8)
