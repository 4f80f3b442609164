"""Convolutions whose output is one pixel wide, where oneDNN's kernels err: see `is_one_wide`."""

from __future__ import annotations

import pytest
import torch
from processor import needs_vnni
from small_vgg import scheme

from powtwo.calibration.exponents import calibrate
from powtwo.conversion.to_integer import convert
from powtwo.dataset.normalization import Normalization
from powtwo.engine.base import Engine
from powtwo.engine.floats import Float
from powtwo.engine.int8 import Int8
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.graph import GraphArchitecture
from powtwo.network.spec import LayerSpec, Specs

CONV = LayerSpec("conv2d", outputs=1, kernel=3, stride=2)
END = (LayerSpec("flatten"), LayerSpec("linear", outputs=2))
NETWORKS = {
    "3x3 twice": ((1, 40, 9), (CONV, LayerSpec("relu"), CONV, LayerSpec("relu"), *END)),
    "narrow": ((1, 11, 4), (LayerSpec("conv2d", outputs=1, kernel=3, stride=(1, 2)), *END)),
    "padded": ((1, 33, 2), (LayerSpec("conv2d", outputs=1, kernel=3, stride=2, padding=1), *END)),
    "one patch": ((3, 64, 8), (LayerSpec("conv2d", outputs=4, kernel=8, stride=8), *END)),
}


@pytest.mark.parametrize("engine", [Float, pytest.param(Int8, marks=needs_vnni)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_code_of_batches_of_any_size(name: str, engine: type[Engine]) -> None:
    image, layers = NETWORKS[name]
    torch.manual_seed(0)
    architecture = GraphArchitecture(Specs(image, layers))
    weights = dict(architecture.build().state_dict())
    pixels = torch.randint(0, 256, (64, *image), dtype=torch.uint8)
    options = scheme("minmax-round", rounding="floor")
    checkpoint = Checkpoint(architecture, Normalization("dyadic"), weights)
    network = convert(calibrate(checkpoint, ("a", "b"), pixels, options, 16), "s", options).network
    for count in (2, 8, 64):
        ours = list(engine(network).outputs(pixels[:count]))
        right = [output for _, output in network.outputs(pixels[:count])]
        assert all(torch.equal(*pair) for pair in zip(ours, right, strict=True)), count
