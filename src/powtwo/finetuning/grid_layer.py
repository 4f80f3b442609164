"""A layer that adds up, on the integer grid: its exponents, and how it requantizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.conversion.weightless import largest_code
from powtwo.core.graph import Sources
from powtwo.finetuning.straight_through import Limits, requantize
from powtwo.integer.fixedpoint import power_of_two
from powtwo.integer.layer import Layer


class GridLayer(nn.Module):
    """What layers with weights and without share; they read centered codes, as floats.

    Powers of two by the exponents are buffers, written in place: a captured step knows their
    addresses.
    """

    def __init__(self, layer: CalibratedLayer, scheme: Scheme, reads: Sources) -> None:
        """Begin with a calibrated layer that reads the codes of `reads`; -1 is the image."""
        super().__init__()
        self.layer, self.reads, self._scheme = layer, reads, scheme
        self.input_exponents: Tensor
        self.output_exponent: Tensor
        self.scale: Tensor
        self.value: Tensor
        self.register_buffer("input_exponents", torch.zeros(len(reads), dtype=torch.int64))
        exponent = layer.output.exponent if layer.output else 0
        self.register_buffer("output_exponent", torch.tensor(exponent))
        self.register_buffer("scale", torch.ones(()), persistent=False)  # 2^−n
        self.register_buffer(
            "value", torch.ones(()), persistent=False
        )  # of a step of what it gives
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda *_: self.prepare()
        )
        self.largest: Tensor | None
        cuts = layer.folded.maximum is not None and layer.output is not None
        self.register_buffer("largest", torch.ones(()) if cuts else None, persistent=False)
        if layer.output is not None:
            low, high = layer.output.centered_range
            self._limits: Limits = 0 if layer.folded.relu else low, high

    @property
    def accumulator_exponent(self) -> Tensor:
        """Return the exponent of what `accumulate` gives, int64, () or (O,)."""
        raise NotImplementedError

    def accumulate(self, *inputs: Tensor) -> Tensor:
        """Return the accumulators before any ReLU, (N, O, H, W) or (N, O)."""
        raise NotImplementedError

    def finish(self, accumulators: Tensor) -> Tensor:
        """Return codes, or accumulators after ReLU where the layer gives those."""
        if self.layer.output is None:
            return accumulators.relu() if self.layer.folded.relu else accumulators
        dtype, limits = accumulators.dtype, self._limits
        if self.largest is not None:
            limits = limits[0], self.largest.to(dtype)
        return requantize(accumulators, self.scale.to(dtype), self._scheme.rounding, limits)

    def prepare(self) -> None:
        """Take the exponents as they are now."""
        for power, exponent in self._powers():
            power.copy_(power_of_two(exponent).view_as(power))
        if self.largest is not None:
            self.largest.fill_(self._largest())

    def settle(self, converted: Layer) -> None:
        """Take the exponents that conversion chose."""
        exponents = [codes.exponent for codes in converted.reads]
        self.input_exponents.copy_(torch.tensor(exponents))
        self.output_exponent.fill_(converted.output.exponent if converted.output else 0)
        self.prepare()

    def calibrated(self) -> CalibratedLayer:
        """Return the layer as conversion reads it, with what was learned."""
        output = self.layer.output
        exponent = int(self.output_exponent)
        return replace(self.layer, output=output and replace(output, exponent=exponent))

    def on_grid(self) -> CalibratedLayer:
        """Return what `calibrated` does, with all that was learned on the grid."""
        return self.calibrated()

    def _powers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each buffer that holds powers of two, and their exponents."""
        accumulators, codes = self.accumulator_exponent, self.layer.output is not None
        yield self.scale, accumulators - self.output_exponent
        # Where it gives accumulators, the layer is the last one, and they share an exponent.
        yield self.value, self.output_exponent if codes else accumulators.max()

    def _largest(self) -> int:
        """Return the largest code less the zero point: where ReLU6 cuts, or the grid ends."""
        assert self.layer.output is not None
        output = replace(self.layer.output, exponent=int(self.output_exponent))
        code = largest_code(self.layer.folded, output)
        return (output.grid.quant_max if code is None else code) - output.zero_point
