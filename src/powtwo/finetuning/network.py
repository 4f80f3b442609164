"""A network on the integer grid that trains: float weights whose codes are what computes.

In float64, and in float32 where no accumulator passes 2^24, its logits are those of the converted
network in every bit. Under autocast in bfloat16 codes stay exact and accumulators are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.conversion import layer_config, to_integer
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.narrow import largest_sums
from powtwo.conversion.scheme import Scheme
from powtwo.core.windows import symmetric
from powtwo.finetuning.straight_through import bias_codes, requantize, weight_codes
from powtwo.integer.fixedpoint import by_channel, power_of_two
from powtwo.integer.layer import INT32_BITS, ActivationQParams, Layer, as_exponents
from powtwo.integer.network import IntegerNetwork


class GridLayer(nn.Module):
    """A convolution or a linear layer on centered codes, code − zero point, as floats."""

    def __init__(
        self, layer: CalibratedLayer, scheme: Scheme, codes: ActivationQParams, bits: int
    ) -> None:
        """Begin with a calibrated layer that reads `codes` into accumulators of `bits`."""
        super().__init__()
        assert layer.source.weight is not None
        assert layer.source.bias is not None
        self.layer, self._scheme, self._accumulator_bits = layer, scheme, bits
        self._input_range = codes.centered_range
        self.weight_inverse: Tensor
        self.bias_inverse: Tensor
        self.scale: Tensor
        self.value: Tensor
        self.weight = nn.Parameter(layer.source.weight.float())
        self.bias = nn.Parameter(layer.source.bias.float())
        self.input_exponent: Tensor
        self.weight_exponent: Tensor
        self.output_exponent: Tensor
        self.register_buffer("input_exponent", torch.tensor(0))
        self.register_buffer("weight_exponent", torch.tensor(layer.weight_exponent))
        self.register_buffer("output_exponent", torch.tensor(0))
        # Powers of two by these exponents; written in place, as a captured step knows their
        # addresses.
        one, of_bias = torch.ones(()), torch.ones_like(self.weight_exponent, dtype=torch.float32)
        of_weight = by_channel(of_bias, self.weight.dim() + 1).clone()
        of_shift = by_channel(of_bias, self.weight.dim()).clone()
        self.register_buffer("weight_inverse", of_weight, persistent=False)
        self.register_buffer("bias_inverse", of_bias, persistent=False)
        self.register_buffer("scale", of_shift, persistent=False)  # 2^−n
        self.register_buffer("value", one, persistent=False)  # of a step of what it gives
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda *_: self.prepare()
        )
        if layer.output is not None:
            low, high = layer.output.centered_range
            self._limits = 0 if layer.folded.relu else low, high

    @property
    def accumulator_exponent(self) -> Tensor:
        """Return e_x + e_w, int64, () or (O,)."""
        return self.input_exponent + self.weight_exponent

    def prepare(self) -> None:
        """Take the exponents as they are now."""
        accumulators, codes = self.accumulator_exponent, self.layer.output is not None
        for power, exponent in (
            (self.weight_inverse, -self.weight_exponent),
            (self.bias_inverse, -accumulators),
            (self.scale, accumulators - self.output_exponent),
        ):
            power.copy_(power_of_two(exponent).view_as(power))
        # Where it gives accumulators, the layer is the last one, and they share an exponent.
        self.value.copy_(power_of_two(self.output_exponent if codes else accumulators.max()))

    def accumulate(self, x: Tensor) -> Tensor:
        """Return b̄ + Σ x·w̄, before any ReLU, (N, O, H, W) or (N, O)."""
        folded, weight, bias = self.layer.folded, self._weight_codes(), self._bias_codes()
        if folded.kind == "linear":
            return F.linear(x, weight, bias)
        return folded.convolve(x, weight, bias)

    def finish(self, accumulators: Tensor) -> Tensor:
        """Return codes, or accumulators after ReLU where the layer gives those."""
        if self.layer.output is None:
            return accumulators.relu() if self.layer.folded.relu else accumulators
        scale = self.scale.to(accumulators.dtype)
        return requantize(accumulators, scale, self._scheme.rounding, self._limits)

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
        output = self.layer.output
        return replace(
            self.layer,
            weight_exponent=as_exponents(self.weight_exponent.tolist()),
            output=output and replace(output, exponent=int(self.output_exponent)),
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
        assert converted.input is not None
        exponents = [
            (self.input_exponent, converted.input.exponent),
            (self.weight_exponent, converted.weight_exponent),
            (self.output_exponent, converted.output.exponent if converted.output else 0),
        ]
        for buffer, exponent in exponents:
            buffer.copy_(torch.tensor(exponent))
        self.prepare()
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

    def _weight_codes(self) -> Tensor:
        return weight_codes(self.weight, self.weight_inverse, self.layer.weight_format.grid)

    def _bias_codes(self) -> Tensor:
        return bias_codes(self.bias, self.bias_inverse, self._scheme.bias == "floor")


class Step(NamedTuple):
    """One step of a network: what it does, and the layer whose weights or codes it knows."""

    name: str  # accumulate, pool_or_flatten, finish
    run: Callable[[Tensor], Tensor]
    layer: GridLayer | None = None


class GridNetwork(nn.Module):
    """The layers of a calibrated network, with weights that learn."""

    def __init__(self, calibrated: Calibrated, scheme: Scheme) -> None:
        """Begin with the weights and the exponents that calibration chose.

        Raises:
            ValueError: where the network is no stack of plain layers.
        """
        super().__init__()
        _require_stack(calibrated)
        self.scheme, self._calibrated = scheme.without_tiles(), calibrated
        self.layers = nn.ModuleDict(dict(self._grid_layers()))
        self.steps = pool_first(self._steps())
        self.settle()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of the logits (N, classes) for normalized images (N, C, H, W)."""
        x = self.encode(x)
        for step in self.steps:
            x = step.run(x)
        return x.to(self.weighted[-1].value) * self.weighted[-1].value

    def encode(self, x: Tensor) -> Tensor:
        """Return the centered codes of normalized images, floats of their type."""
        codes = self._calibrated.input.codes
        return (x * 2.0**-codes.exponent).round_().clamp_(*codes.centered_range)

    @property
    def weighted(self) -> list[GridLayer]:
        """Return the layers that have weights, in order."""
        return list(self.layers.values())  # type: ignore[arg-type]

    def calibrated(self) -> Calibrated:
        """Return the network as conversion reads it, with what was learned."""
        return self._with(GridLayer.calibrated)

    def on_grid(self) -> Calibrated:
        """Return the network as the stage hands it on: its weights are codes times their step."""
        self.settle()
        return self._with(GridLayer.on_grid)

    def convert(self) -> IntegerNetwork:
        """Return the integer network that this one is now."""
        return to_integer.convert(self.calibrated(), "finetune", self.scheme).network

    def settle(self) -> None:
        """Move exponents to where conversion needs them, for shifts and accumulators to fit."""
        converted = self.convert().layers
        for index, layer in self.layers.items():
            layer.settle(converted[int(index)])  # type: ignore[operator]

    def _grid_layers(self) -> Iterator[tuple[str, GridLayer]]:
        accumulators = layer_config.accumulators(self._calibrated.folded, self.scheme)
        codes = self._calibrated.input.codes
        for index, layer in enumerate(self._calibrated.layers):
            if layer.source.weight is not None:
                bits = accumulators[index].bits
                yield str(index), GridLayer(layer, self.scheme, codes, bits)
                codes = layer.output or codes

    def _with(self, learned: Callable[[GridLayer], CalibratedLayer]) -> Calibrated:
        layers = list(self._calibrated.layers)
        for index, layer in self.layers.items():
            layers[int(index)] = learned(layer)  # type: ignore[arg-type]
        return replace(self._calibrated, layers=tuple(layers))

    def _steps(self) -> Iterator[Step]:
        for index, layer in enumerate(self._calibrated.layers):
            if str(index) in self.layers:
                grid: GridLayer = self.layers[str(index)]  # type: ignore[assignment]
                yield Step("accumulate", grid.accumulate, grid)
                yield Step("finish", grid.finish, grid)
            else:
                yield Step("pool_or_flatten", layer.folded)


def _require_stack(calibrated: Calibrated) -> None:
    for index, layer in enumerate(calibrated.folded):
        plain = layer.inputs is None and layer.groups == 1 and layer.maximum is None
        if layer.kind in ("add", "avgpool2d") or not plain or symmetric(layer.padding) is None:
            raise ValueError(
                f"finetune: layer {index} is a {layer.kind} of no plain stack, which is not "
                "trained on the integer grid yet; leave finetune out of the scheme"
            )


def pool_first(steps: Iterator[Step]) -> list[Step]:
    """Pool accumulators and not codes: the same in every bit, with a quarter to requantize."""
    ordered = list(steps)
    for index, (first, second) in enumerate(pairwise(list(ordered))):
        pools = second.name == "pool_or_flatten" and second.run.kind == "maxpool2d"  # type: ignore[attr-defined]
        if first.name == "finish" and pools:
            ordered[index : index + 2] = second, first
    return ordered
