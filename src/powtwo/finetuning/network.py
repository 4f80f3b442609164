"""A network on the integer grid that trains: float weights whose codes are what computes.

In float64, and in float32 where no accumulator passes 2^24, its logits are those of the converted
network in every bit. Under autocast in bfloat16 codes stay exact, and accumulators of weights are
rounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from powtwo.conversion import layer_config, to_integer
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.core import graph
from powtwo.core.graph import IMAGE, Sources
from powtwo.finetuning.grid_layer import GridLayer
from powtwo.finetuning.weighted import WeightedLayer
from powtwo.finetuning.weightless import WeightlessLayer
from powtwo.integer.network import IntegerNetwork


class Step(NamedTuple):
    """What a layer does, or a part of it, and the layer whose exponents it knows."""

    name: str  # accumulate, pool_or_flatten, finish
    run: Callable[..., Tensor]
    layer: GridLayer | None = None


Before = Callable[..., None]  # is called with a step and its inputs


class GridNetwork(nn.Module):
    """The layers of a calibrated network, with weights that learn."""

    def __init__(self, calibrated: Calibrated, scheme: Scheme) -> None:
        """Begin with the weights and the exponents that calibration chose."""
        super().__init__()
        self.scheme, self._calibrated = scheme.without_tiles(), calibrated
        self._sources = graph.sources(calibrated.folded)
        self.layers = nn.ModuleDict(dict(self._grid_layers()))
        self.steps = pool_first(list(self._steps()), self._sources)
        self._logits = self.layer(layer_config.logits_layer(calibrated.folded))
        self.settle()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of the logits (N, classes) for normalized images (N, C, H, W)."""
        logits = deque(self.outputs(x), maxlen=1).pop()
        return logits.to(self._logits.value) * self._logits.value

    def outputs(self, x: Tensor, before: Before | None = None) -> Iterator[Tensor]:
        """Yield what each layer gives: centered codes, or what `pool_first` leaves of them."""
        steps = [partial(_run, each, before) for each in self.steps]
        return graph.evaluate(self._sources, {IMAGE: self.encode(x)}, steps)

    def encode(self, x: Tensor) -> Tensor:
        """Return the centered codes of normalized images, floats of their type."""
        codes = self._calibrated.input.codes
        return (x * 2.0**-codes.exponent).round_().clamp_(*codes.centered_range)

    def layer(self, index: int) -> GridLayer:
        """Return a layer that adds up, by its index."""
        return self.layers[str(index)]  # type: ignore[return-value]

    @property
    def sums(self) -> list[GridLayer]:
        """Return the layers that add up, in order."""
        return list(self.layers.values())  # type: ignore[arg-type]

    @property
    def weighted(self) -> list[WeightedLayer]:
        """Return the layers that have weights, in order."""
        return [layer for layer in self.sums if isinstance(layer, WeightedLayer)]

    def read_exponents(self, layer: GridLayer) -> list[int]:
        """Return the exponents of the codes that a layer reads, as they are now."""
        image = self._calibrated.input.codes.exponent
        return [image if i == IMAGE else int(self.layer(i).output_exponent) for i in layer.reads]

    def calibrated(self) -> Calibrated:
        """Return the network as conversion reads it, with what was learned."""
        return self._with(lambda layer: layer.calibrated())

    def on_grid(self) -> Calibrated:
        """Return the network as the stage hands it on: its weights are codes times their step."""
        self.settle()
        return self._with(lambda layer: layer.on_grid())

    def convert(self) -> IntegerNetwork:
        """Return the integer network that this one is now."""
        return to_integer.convert(self.calibrated(), "finetune", self.scheme).network

    def settle(self) -> None:
        """Move exponents to where conversion needs them, for shifts and accumulators to fit."""
        converted = self.convert().layers
        for index in self.layers:
            self.layer(int(index)).settle(converted[int(index)])

    def _grid_layers(self) -> Iterator[tuple[str, GridLayer]]:
        layers, folded = self._calibrated.layers, self._calibrated.folded
        accumulators = layer_config.accumulators(folded, self.scheme)
        for index, layer in enumerate(layers):
            if not layer.folded.accumulates:
                continue
            reads = tuple(map(self._origin, self._sources[index]))
            if layer.folded.weight is None:
                yield str(index), WeightlessLayer(layer, self.scheme, reads)
                continue
            codes = self._calibrated.input.codes if reads[0] == IMAGE else layers[reads[0]].output
            assert codes is not None
            bits = accumulators[index].bits
            yield str(index), WeightedLayer(layer, self.scheme, reads, codes, bits)

    def _origin(self, index: int) -> int:
        """Return the layer whose codes a layer gives: itself, or before poolings and flattening."""
        folded = self._calibrated.folded
        return graph.follow(self._sources, index, lambda i: not folded[i].accumulates)

    def _with(self, learned: Callable[[GridLayer], CalibratedLayer]) -> Calibrated:
        layers = list(self._calibrated.layers)
        for index in self.layers:
            layers[int(index)] = learned(self.layer(int(index)))
        return replace(self._calibrated, layers=tuple(layers))

    def _steps(self) -> Iterator[list[Step]]:
        for index, layer in enumerate(self._calibrated.folded):
            if layer.accumulates:
                grid = self.layer(index)
                yield [
                    Step("accumulate", grid.accumulate, grid),
                    Step("finish", grid.finish, grid),
                ]
            else:
                yield [Step("pool_or_flatten", layer)]


def pool_first(steps: list[list[Step]], reads: Sequence[Sources]) -> list[list[Step]]:
    """Pool accumulators and not codes: the same in every bit, with a quarter to requantize.

    Where nothing but the pooling reads the layer.
    """
    for index, readers in graph.readers(reads).items():
        adds_up = index != IMAGE and steps[index][0].layer is not None
        if adds_up and [getattr(steps[i][0].run, "kind", None) for i in readers] == ["maxpool2d"]:
            steps[readers[0]].append(steps[index].pop())
    return steps


def _run(steps: list[Step], before: Before | None, *inputs: Tensor) -> Tensor:
    """Take a layer's steps; the first has its inputs, and each other what the one before gives."""
    for step in steps:
        if before is not None:
            before(step, *inputs)
        inputs = (step.run(*inputs),)
    return inputs[0]
