"""A convolution or a linear layer on the integer grid: its codes are those of float weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.narrow import largest_sums
from powtwo.conversion.scheme import Scheme
from powtwo.core.graph import Sources
from powtwo.finetuning.grid_layer import GridLayer
from powtwo.finetuning.straight_through import bias_codes, weight_codes
from powtwo.integer.fixedpoint import by_channel, power_of_two
from powtwo.integer.layer import INT32_BITS, ActivationQParams, Layer, as_exponents


class WeightedLayer(GridLayer):
    """A convolution or a linear layer on centered codes, code − zero point, as floats."""

    def __init__(
        self,
        layer: CalibratedLayer,
        scheme: Scheme,
        reads: Sources,
        codes: ActivationQParams,
        bits: int,
    ) -> None:
        """Begin with a calibrated layer that reads `codes` into accumulators of `bits`."""
        super().__init__(layer, scheme, reads)
        assert layer.source.weight is not None
        assert layer.source.bias is not None
        self._accumulator_bits, self._input_range = bits, codes.centered_range
        self.weight = nn.Parameter(layer.source.weight.float())
        self.bias = nn.Parameter(layer.source.bias.float())
        self.weight_exponent: Tensor
        self.weight_inverse: Tensor
        self.bias_inverse: Tensor
        self.register_buffer("weight_exponent", torch.tensor(layer.weight_exponent))
        ones, dimensions = torch.ones(self.weight_exponent.shape), self.weight.dim()
        of_weight, of_shift = (by_channel(ones, d).clone() for d in (dimensions + 1, dimensions))
        self.register_buffer("weight_inverse", of_weight, persistent=False)
        self.register_buffer("bias_inverse", ones, persistent=False)
        self.register_buffer("scale", of_shift, persistent=False)

    @property
    def accumulator_exponent(self) -> Tensor:
        """Return e_x + e_w, int64, () or (O,)."""
        return self.input_exponents[0] + self.weight_exponent

    def accumulate(self, *inputs: Tensor) -> Tensor:
        """Return b̄ + Σ x·w̄, before any ReLU, (N, O, H, W) or (N, O)."""
        (x,), folded = inputs, self.layer.folded
        weight, bias = self._weight_codes(), self._bias_codes()
        if folded.kind == "linear":
            return F.linear(x, weight, bias)
        return folded.convolve(x, weight, bias)

    @torch.no_grad()
    def shrink(self) -> None:
        """Scale the weights of channels whose sums its accumulators would not hold.

        So that training knows the bound, which conversion then makes hold: rounding may pass it.
        Source: A2Q, Colbert et al. 2023, https://arxiv.org/abs/2301.13376, §4.1
        """
        if self._accumulator_bits == INT32_BITS:
            return
        rows, bias = self._weight_codes().flatten(1), self._bias_codes()
        half_unit = (0.5 / self.scale).flatten() if self.layer.output else bias.new_zeros(())
        limits = largest_sums(bias, half_unit, self._input_range, self._accumulator_bits)
        sums = rows.clamp(min=0).sum(1), -rows.clamp(max=0).sum(1), rows.abs().sum(1)
        factors = [
            limit.clamp(min=1) / total.clamp(min=1)
            for limit, total in zip(limits, sums, strict=True)
        ]
        factor = torch.stack(factors).amin(0).clamp(max=1).to(self.weight)
        self.weight.mul_(by_channel(factor, self.weight.dim() + 1))

    def pull_to_zero(self, strength: float) -> None:
        """Add to the gradient that of a penalty on |w|, `strength` steps of the codes large."""
        assert self.weight.grad is not None
        self.weight.grad.addcdiv_(self.weight.sign(), self.weight_inverse, value=strength)

    def calibrated(self) -> CalibratedLayer:
        """Return the layer as conversion reads it, with what was learned."""
        weight, bias = (p.detach().double().cpu().contiguous() for p in (self.weight, self.bias))
        return replace(
            super().calibrated(),
            weight_exponent=as_exponents(self.weight_exponent.tolist()),
            adapted=replace(self.layer.folded, weight=weight, bias=bias),
        )

    def on_grid(self) -> CalibratedLayer:
        """Return what `calibrated` does, with weights and biases that are codes times their step.

        Conversion rounds them to the same codes, and nothing else is handed on: no sign of a 0.
        """
        learned = self.calibrated()
        source, exponents = learned.source, self.weight_exponent.cpu()
        assert source.weight is not None
        assert source.bias is not None
        steps = by_channel(power_of_two(exponents), source.weight.dim() + 1)
        codes = weight_codes(source.weight, 1 / steps, self.layer.weight_format.grid)
        weight = codes * steps + 0.0
        steps = power_of_two(self.accumulator_exponent.cpu())
        bias = bias_codes(source.bias, 1 / steps, self._scheme.bias == "floor") * steps + 0.0
        return replace(learned, adapted=replace(source, weight=weight, bias=bias))

    def settle(self, converted: Layer) -> None:
        """Take the exponents that conversion chose, and the codes that it restricted."""
        self.weight_exponent.copy_(torch.tensor(converted.weight_exponent))
        super().settle(converted)
        if converted.accumulator_bits < INT32_BITS:
            self._take(converted)

    @torch.no_grad()
    def _take(self, converted: Layer) -> None:
        """Move weights whose code is another than the converted layer's onto that code."""
        assert converted.weight is not None
        codes = self._weight_codes()
        differs = codes != converted.weight.to(codes)
        values = converted.weight_values.to(self.weight)
        self.weight.copy_(torch.where(differs, values, self.weight))

    def _powers(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super()._powers()
        yield self.weight_inverse, -self.weight_exponent
        yield self.bias_inverse, -self.accumulator_exponent

    def _weight_codes(self) -> Tensor:
        return weight_codes(self.weight, self.weight_inverse, self.layer.weight_format.grid)

    def _bias_codes(self) -> Tensor:
        return bias_codes(self.bias, self.bias_inverse, self._scheme.bias == "floor")
