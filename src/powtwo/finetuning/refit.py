"""Exponents chosen anew for weights that have changed, by the scheme's own observers.

Layer by layer, on what the integer network has there: inputs are codes, outputs the values of its
accumulators.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from powtwo.calibration.exponents import weight_exponent
from powtwo.calibration.observers import Observer
from powtwo.conversion import layer_config
from powtwo.conversion.layer_config import LayerQuantConfig
from powtwo.finetuning.grid_layer import GridLayer
from powtwo.finetuning.network import GridNetwork, Step
from powtwo.finetuning.weighted import WeightedLayer
from powtwo.integer.fixedpoint import by_channel, power_of_two


@torch.no_grad()
def refit(network: GridNetwork, images: Tensor) -> None:
    """Choose every exponent again, on normalized images (N, C, H, W), all in one batch."""
    configs = layer_config.of_scheme(network.calibrated().folded, network.scheme)
    by_layer = dict(zip(network.sums, configs, strict=True))

    def before(step: Step, *inputs: Tensor) -> None:
        if step.layer is None:
            return
        config = by_layer[step.layer]
        if step.name == "accumulate":
            _refit_inputs(step.layer, config, network)
        elif config.output is not None:
            (accumulators,) = inputs
            _refit_output(step.layer, accumulators, config, network)

    deque(network.outputs(images, before), maxlen=0)
    network.settle()


def _refit_inputs(layer: GridLayer, config: LayerQuantConfig, network: GridNetwork) -> None:
    if isinstance(layer, WeightedLayer):
        source = layer.calibrated().source
        exponent = weight_exponent(config, source, network.scheme.weights)
        layer.weight_exponent.copy_(torch.tensor(exponent))
    layer.input_exponents.copy_(torch.tensor(network.read_exponents(layer)))
    layer.prepare()


def _refit_output(
    layer: GridLayer, accumulators: Tensor, config: LayerQuantConfig, network: GridNetwork
) -> None:
    assert config.output is not None
    quantizer = network.scheme.activations
    name = f"layer {config.index}: output"
    observer = Observer(quantizer.observer, config.output, quantizer.clamp, tensor=name)
    scale = by_channel(power_of_two(layer.accumulator_exponent), accumulators.dim())
    values = accumulators.cpu().double() * scale
    observer.forward(layer.layer.folded.cut(values))
    exponent, _ = observer.calculate_qparams()
    layer.output_exponent.copy_(exponent)
    layer.prepare()
