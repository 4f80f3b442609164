"""int8 matrix products on a GPU, exact by construction: products and sums are integers.

The tensor cores multiply int8 by int8 and add in int32 (`torch._int_mm`). Codes are held as
u = x̄ − 128, which is int8, in the order (N, H, W, C); then

    b + Σ (x̄ − z) · w  =  b + (128 − z) · Σ w  +  Σ u · w

where the first two terms are constants of the layer, and a padded position holds u = z − 128.
A convolution multiplies the patches of its input, copied side by side, with its weights. It also
runs on a CPU, slowly, so that its every code can be compared with the reference's without a GPU.

Source: integer-only inference, Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §2.3
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import graph
from powtwo.core.windows import four, pad_argument, pair
from powtwo.engine.base import Engine
from powtwo.engine.floats import FloatStep
from powtwo.integer.layer import INT32_LIMIT, ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding, half_unit

OFFSET = 128  # of the codes, so that they are int8
MULTIPLE = 8  # which the sizes of a product's columns must be
ROWS = 17  # fewest of a product


class Gpu(Engine):
    """int8 matrix products on unfolded codes."""

    name = "gpu"

    def __init__(self, network: IntegerNetwork, device: str = "cuda") -> None:
        """Put the weights on the device.

        Raises:
            ValueError: where products alone could leave int32.
        """
        super().__init__(network, device)
        # In PyTorch's deterministic mode, which stages are in, cuBLAS may refuse to run without.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.steps = [_step(layer, network.rounding, self.device) for layer in network.layers]

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output, where the pixels lie."""
        for x in self._run(pixels):
            yield _public(x).to(pixels.device)

    def resume(self, values: Mapping[int, Tensor]) -> Iterator[Tensor]:
        """Yield each layer's output after those that there are."""
        coded = {index: _inside(codes.to(self.device)) for index, codes in values.items()}
        device = next(iter(values.values())).device
        for x in graph.evaluate(self.network.sources, coded, self.steps):
            yield _public(x).to(device)

    def _logits(self, pixels: Tensor) -> Tensor:
        return _public(deque(self._run(pixels), maxlen=1).pop()).to(pixels.device)

    def _run(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output: int8 u, of images (N, H, W, C), or int32."""
        x = _inside(self.network.input.encode(pixels.to(self.device)))
        yield from graph.evaluate(self.network.sources, {graph.IMAGE: x}, self.steps)


def on_centered(layer: Layer, rounding: Rounding, device: torch.device) -> Callable[..., Tensor]:
    """Return a layer that gives codes, on centered ones: int16 x̄ − z (N, C, H, W) or (N, C)."""
    if not _is_product(layer):
        step = FloatStep(layer, rounding, device)
        return lambda *codes: step(*(x.to(device).float() for x in codes)).short().to(codes[0])
    assert layer.input is not None
    assert layer.output is not None
    product, moved = _Product(layer, rounding, device), layer.input.zero_point - OFFSET
    centering = OFFSET - layer.output.zero_point

    def run(codes: Tensor) -> Tensor:
        x = (codes.to(device) + moved).to(torch.int8)
        y = product(x.permute(0, 2, 3, 1) if x.dim() == 4 else x).to(torch.int16) + centering
        return (y.permute(0, 3, 1, 2) if y.dim() == 4 else y).contiguous().to(codes.device)

    return run


def _is_product(layer: Layer) -> bool:
    """Tell whether a layer is one matrix product; of groups there would be a small one each."""
    return layer.has_weights and layer.groups == 1


def _step(layer: Layer, rounding: Rounding, device: torch.device) -> Callable[..., Tensor]:
    if _is_product(layer):
        return _Product(layer, rounding, device)
    if layer.accumulates:
        return _Floats(layer, rounding, device)
    if layer.kind == "maxpool2d":
        return lambda x: _pool(x, layer)
    if layer.kind == "flatten":  # in the order of the weights: channels first
        return lambda x: (x.permute(0, 3, 1, 2) if x.dim() == 4 else x).flatten(1)
    raise ValueError(f"kind = {layer.kind!r}: the engine gpu has no such layer; use another engine")


def _centered(codes: Tensor) -> Tensor:
    """Return x̄ − 128 of uint8 codes, as int8: the top bit inverted."""
    return codes.bitwise_xor(OFFSET).view(torch.int8)


def _inside(codes: Tensor) -> Tensor:
    """Return uint8 codes (N, C, H, W) or (N, C) as the engine holds them."""
    return _centered(codes.permute(0, 2, 3, 1) if codes.dim() == 4 else codes)


def _public(x: Tensor) -> Tensor:
    """Return a layer's output as every engine gives it: uint8 or int32, (N, C, H, W) or (N, C)."""
    x = x.view(torch.uint8).bitwise_xor(OFFSET) if x.dtype == torch.int8 else x
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x


def _pool(x: Tensor, layer: Layer) -> Tensor:
    """Return the maxima of windows of (N, H, W, C), one shifted view after another."""
    if any(four(layer.padding)):
        x = F.pad(x, (0, 0, *pad_argument(layer.padding)), value=-OFFSET)  # the lowest code
    (high, wide), (down, right) = pair(layer.kernel), pair(layer.stride)
    rows, columns = (x.shape[1] - high) // down + 1, (x.shape[2] - wide) // right + 1
    views = [
        x[:, top : top + down * (rows - 1) + 1 : down,
          left : left + right * (columns - 1) + 1 : right]
        for top in range(high) for left in range(wide)
    ]  # fmt: skip
    largest = views[0]
    for view in views[1:]:
        largest = torch.maximum(largest, view)
    return largest


class _Floats:
    """A layer that is no matrix product, by float sums, which are exact."""

    def __init__(self, layer: Layer, rounding: Rounding, device: torch.device) -> None:
        self.layer, self.step = layer, FloatStep(layer, rounding, device)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Apply the layer to int8 (N, H, W, C) or (N, C) of each input."""
        x = self.step(
            *(
                (x.permute(0, 3, 1, 2) if x.dim() == 4 else x).float() + (OFFSET - read.zero_point)
                for x, read in zip(inputs, self.layer.reads, strict=True)
            )
        )
        if (output := self.layer.output) is None:
            x = x.to(torch.int32)
        else:
            x = x.add_(output.zero_point - OFFSET).to(torch.int8)
        return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


class _Product:
    """A weighted layer as one matrix product, then a shift and a clamp."""

    def __init__(self, layer: Layer, rounding: Rounding, device: torch.device) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        assert layer.input is not None
        self.layer, self.input = layer, layer.input
        sums = layer.weight.flatten(1).to(torch.int64)
        if int(sums.abs().sum(1).max()) * OFFSET >= INT32_LIMIT:
            raise ValueError("products alone could leave int32; use another engine")
        self.weight = _matrix(layer.weight).to(device)  # int8 (K, O'), columns contiguous
        bias = layer.bias + (OFFSET - layer.input.zero_point) * sums.sum(1)  # int64 (O,)
        self.requantize: Callable[[Tensor], Tensor] | None = None
        if layer.output is not None:
            shift = layer.shift.expand(len(bias))
            constant = rounding.bias_constant(shift)
            self.requantize = _Requantize(layer, layer.output, constant is None, device)
            bias = bias + (0 if constant is None else constant)
        self.bias = bias.to(device, torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer to int8 (N, H, W, C) or (N, C)."""
        shape, rows = (x.shape[:-1], _wide(x)) if x.dim() == 2 else self._patches(x)
        sums = torch._int_mm(_tall(rows), self.weight)
        sums = sums[: len(rows), : len(self.bias)].add_(self.bias)
        if self.requantize is not None:
            sums = self.requantize(sums)
        elif self.layer.relu:
            sums = sums.clamp_(min=0)
        return sums.view(*shape, -1)

    def _patches(self, x: Tensor) -> tuple[tuple[int, ...], Tensor]:
        """Return the shape (N, H', W') of the outputs, and their patches, int8 (N·H'·W', K)."""
        (high, wide), (down, right) = pair(self.layer.kernel), pair(self.layer.stride)
        side = pad_argument(self.layer.padding)
        fill = -x.shape[-1] % MULTIPLE  # channels whose weights are 0
        x = F.pad(x, (0, fill, *side), value=self.input.zero_point - OFFSET).contiguous()
        x = x.view(torch.int64)  # eight channels at a time are copied eight times as fast
        x = x.unfold(1, high, down).unfold(2, wide, right)
        patches = x.permute(0, 1, 2, 4, 5, 3)  # (N, H', W', k, k, C / 8)
        shape = tuple(patches.shape[:3])
        return shape, patches.reshape(shape[0] * shape[1] * shape[2], -1).view(torch.int8)


class _Requantize:
    """Shifts int32 accumulators (M, O), in place, and clamps them to codes u, int8."""

    def __init__(
        self, layer: Layer, output: ActivationQParams, half_even: bool, device: torch.device
    ) -> None:
        shift = layer.shift.expand(len(layer.weight))  # type: ignore[arg-type]
        self.shift = shift.to(device, torch.int32)
        self.half_even = half_even
        if half_even:
            self.odd = (shift > 0).to(device, torch.int32)  # the lowest bit, where one is cut off
            self.below_half = ((half_unit(shift) - 1) * (shift > 0)).to(device, torch.int32)
        self.low = 0 if layer.relu else output.grid.quant_min - output.zero_point
        self.high = layer.largest_code - output.zero_point
        self.centering = (output.zero_point - OFFSET) % 256  # modulo 2^8, as bytes add

    def __call__(self, sums: Tensor) -> Tensor:
        if self.half_even:
            odd = (sums >> self.shift).bitwise_and_(self.odd)
            sums.add_(self.below_half).add_(odd)
        sums.bitwise_right_shift_(self.shift).clamp_(self.low, self.high)
        codes = sums.to(torch.uint8)  # modulo 2^8, so of negative numbers as well
        return (codes.add_(self.centering) if self.centering else codes).view(torch.int8)


def _matrix(weight: Tensor) -> Tensor:
    """Return weights (O, C, k, k) or (O, I) as a matrix (K, O'), filled up with zeros."""
    if weight.dim() == 4:
        weight = weight.permute(0, 2, 3, 1)  # (O, k, k, C)
    weight = F.pad(weight, (0, -weight.shape[-1] % MULTIPLE)).flatten(1)
    return F.pad(weight, (0, 0, 0, -len(weight) % MULTIPLE)).contiguous().T


def _wide(x: Tensor) -> Tensor:
    """Fill up the columns of (M, K), where the weights are zeros."""
    return F.pad(x, (0, -x.shape[1] % MULTIPLE)) if x.shape[1] % MULTIPLE else x.contiguous()


def _tall(x: Tensor) -> Tensor:
    """Fill up the rows of (M, K)."""
    return x if len(x) >= ROWS else F.pad(x, (0, 0, 0, ROWS - len(x)))
