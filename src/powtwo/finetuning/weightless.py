"""Additions and averages on the integer grid: they learn nothing, and pass gradients on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.core.graph import Sources
from powtwo.finetuning.grid_layer import GridLayer
from powtwo.integer import weightless


class WeightlessLayer(GridLayer):
    """An addition or an average of centered codes, code − zero point, as floats."""

    def __init__(self, layer: CalibratedLayer, scheme: Scheme, reads: Sources) -> None:
        """Begin with a calibrated layer that reads the codes of `reads`; -1 is the image."""
        super().__init__(layer, scheme, reads)
        self.gains: Tensor
        self.register_buffer("gains", torch.ones(len(reads)), persistent=False)

    @property
    def accumulator_exponent(self) -> Tensor:
        """Return e of an addition, e_x − m of an average, int64 ()."""
        folded = self.layer.folded
        exponents = self.input_exponents.tolist()
        return torch.tensor(weightless.exponent(folded.kind, exponents, folded.kernel))

    def accumulate(self, *inputs: Tensor) -> Tensor:
        """Return Σ (x̄ − z)·2^(e_x − e).

        Not in bfloat16, which holds the codes and not their sums. The average, which divides by
        2^m, is one of inputs 2^m times larger.
        """
        gains = self.gains.unbind()
        scaled = [x.to(self.gains.dtype) * gain for x, gain in zip(inputs, gains, strict=True)]
        return self.layer.folded.without_relu(*scaled)

    def _powers(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super()._powers()
        yield self.gains, self.input_exponents.cpu() - self.accumulator_exponent
