"""Networks and images for the exports: what the random networks of `networks` leave out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.export.bundle import FORMATS, write_bundle
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat
from powtwo.integer.network import Input, IntegerNetwork

PLAIN = ("c99", "memory", "course")  # formats that are not ONNX
STANDARD = Normalization("standard", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def needs(*tools: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test that starts these tools: it is slow, and skipped where one is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    skip = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed")
    return lambda test: pytest.mark.slow(skip(test))


def dataset(network: IntegerNetwork, per_class: int = 2) -> Dataset:
    """Make 32×32 images, a white and a black one among them, with the network's classes."""
    count = per_class * len(network.classes)
    x = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
    x[0], x[1] = 255, 0
    y = np.arange(count, dtype=np.int64) % len(network.classes)
    return Dataset(x, y, x, y, x, y, network.classes)


def small_network(rounding: str = "floor", **options: object) -> IntegerNetwork:
    """Make a network for 32×32 images, as every data set has them."""
    return replace(random_network(3, rounding=rounding, size=32, **options), scheme="small")


def odd_network(rounding: str = "half_even", relu: bool = True) -> IntegerNetwork:
    """Make strides, a 5×5 kernel, overlapping pools, a wide image, and a table for the input."""
    generator = torch.Generator().manual_seed(7)

    def weighted(
        kind: str, shape: tuple[int, ...], codes: ActivationQParams, **plain: int
    ) -> Layer:
        weight = torch.randint(-127, 128, shape, generator=generator).to(torch.int8)
        bias = torch.randint(-2000, 2000, shape[:1], generator=generator).to(torch.int32)
        output = ActivationQParams(-5, 8, 5)
        exponents = tuple(-5 - codes.exponent - n % 3 - 7 for n in range(shape[0]))
        return Layer(kind, weight, bias, exponents, WeightFormat(8), codes, output, relu, **plain)

    first, rest = ActivationQParams(-4, 16, 6), ActivationQParams(-5, 8, 5)
    layers = (
        weighted("conv2d", (4, 3, 5, 5), first, kernel=5, stride=2, padding=2),  # 3x9x14: 4x5x7
        Layer("maxpool2d", kernel=3, stride=2),  # 4x2x3
        weighted("conv2d", (5, 4, 2, 2), rest, kernel=2, padding=1),  # 5x3x4
        Layer("maxpool2d", kernel=2, stride=1),  # 5x2x3
        Layer("flatten"),
        weighted("linear", (6, 30), rest),
    )
    source = Input((3, 9, 14), first, STANDARD)
    return IntegerNetwork("odd", rounding, tuple("uvwxyz"), source, layers)


def with_table(network: IntegerNetwork) -> IntegerNetwork:
    """Normalize the pixels of a random network, so that a table makes its codes."""
    first = replace(network.layers[0], input=ActivationQParams(-5))
    layers = (replace(first, weight_exponent=first.weight_exponent - 2), *network.layers[1:])
    source = Input(network.input.shape, ActivationQParams(-5), STANDARD)
    return replace(network, input=source, layers=layers)


def edge_network(shift: int, bias: int, rounding: str) -> IntegerNetwork:
    """Make one linear layer whose sums reach almost ±2^31 and shift by 0 or by 31."""
    weight = torch.tensor([[127, -127], [1, 0], [0, 0]], dtype=torch.int8)
    layer = Layer(
        "linear",
        weight,
        torch.tensor([bias, -bias, bias], dtype=torch.int32),
        weight_exponent=-shift,
        input=ActivationQParams(0),
        output=ActivationQParams(0),
    )
    source = Input((2, 1, 1), ActivationQParams(-7), Normalization("dyadic"))
    return IntegerNetwork("edge", rounding, ("a", "b", "c"), source, (Layer("flatten"), layer))


def pixels_for(network: IntegerNetwork, count: int = 6) -> np.ndarray:
    """Draw uint8 images (N, C, H, W), a black and a white one first."""
    shape = (count, *network.input.shape)
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    pixels[0], pixels[1] = 0, 255
    return pixels


def project(root: Path, network: IntegerNetwork, formats: Collection[str] = FORMATS) -> Path:
    """Lay out a project that has been trained, converted and exported; return the export."""
    for folder in ("data", "models/integer"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    images = dataset(network)
    images.save(root / "data/dataset.npz")
    network.save(root / "models/integer/small.safetensors")
    write_bundle(root / "exports/small", network, images, 2, formats)
    return root / "exports/small"
