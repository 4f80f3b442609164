"""Exponents chosen anew for weights that have changed, by the scheme's own observers.

Layer by layer, on what the integer network has there: inputs are codes, outputs the values of its
accumulators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from powtwo.calibration.exponents import weight_exponent
from powtwo.calibration.observers import Observer
from powtwo.conversion import layer_config
from powtwo.conversion.layer_config import LayerQuantConfig
from powtwo.finetuning.network import GridLayer, GridNetwork
from powtwo.integer.fixedpoint import by_channel, power_of_two


@torch.no_grad()
def refit(network: GridNetwork, images: Tensor) -> None:
    """Choose every exponent again, on normalized images (N, C, H, W), all in one batch."""
    calibrated = network.calibrated()
    configs = layer_config.of_scheme(calibrated.folded, network.scheme)
    by_layer = dict(zip(network.weighted, configs, strict=True))
    x, exponent = network.encode(images), torch.tensor(calibrated.input.codes.exponent)
    for step in network.steps:
        if step.layer is not None and step.name == "accumulate":
            _refit_weight(step.layer, by_layer[step.layer], network)
            step.layer.input_exponent.copy_(exponent)
            step.layer.prepare()
        elif step.layer is not None:
            _refit_output(step.layer, x, by_layer[step.layer], network)
            exponent = step.layer.output_exponent
        x = step.run(x)
    network.settle()


def _refit_weight(layer: GridLayer, config: LayerQuantConfig, network: GridNetwork) -> None:
    source = layer.calibrated().source
    exponent = weight_exponent(config, source, network.scheme.weights)
    layer.weight_exponent.copy_(torch.tensor(exponent))


def _refit_output(
    layer: GridLayer, accumulators: Tensor, config: LayerQuantConfig, network: GridNetwork
) -> None:
    if config.output is None:
        return
    quantizer = network.scheme.activations
    name = f"layer {config.index}: output"
    observer = Observer(quantizer.observer, config.output, quantizer.clamp, tensor=name)
    scale = by_channel(power_of_two(layer.accumulator_exponent), accumulators.dim())
    values = accumulators.cpu().double() * scale
    observer.forward(values.relu() if layer.layer.folded.relu else values)
    exponent, _ = observer.calculate_qparams()
    layer.output_exponent.copy_(exponent)
    layer.prepare()
