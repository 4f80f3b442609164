"""hls4ml's C and OpenVINO give our logits in every bit, from the files that name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from clone import PARAMS
from consumers import needs_consumers, run_in
from export_cases import needs, with_table
from networks import random_network, random_pixels
from runtimes import same, values
from small_vgg import convert, trained

from powtwo.conversion.scheme import Scheme
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.integer.fixedpoint import dequantize
from powtwo.integer.network import IntegerNetwork

CHECKPOINT = trained(4, "M", 6, "M")
SCHEMES = ("lab", "minmax-round", "shift")


def of_scheme(name: str, rounding: str | None = None) -> IntegerNetwork:
    """Convert a small network by a scheme of the default parameters."""
    options = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["schemes"][name]
    options |= {"rounding": rounding} if rounding else {}
    return convert(Scheme.model_validate(options), CHECKPOINT).network


def seen(network: IntegerNetwork, pixels: torch.Tensor) -> np.ndarray:
    """Return what network.qonnx.onnx takes: the float32 values of the input's codes."""
    codes = network.input.codes
    encoded = network.input.encode(pixels)
    return dequantize(encoded, codes.exponent, codes.zero_point).float().numpy()


@needs_consumers
@needs("g++")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_c_of_hls4ml_gives_our_logits(scheme: str, tmp_path: Path) -> None:
    network, pixels = of_scheme(scheme), random_pixels(61, count=20, size=32)
    logits = run_in("hls4ml", tmp_path, to_qonnx(network), seen(network, pixels))
    assert same(values(network, network.logits(pixels)), logits)


@needs_consumers
@needs("g++")
@pytest.mark.parametrize(
    "network",
    [
        random_network(4, "half_up", relu=False, logits="codes"),
        random_network(4, "half_even", per_channel=True),
    ],
    ids=["half_up", "half_even"],
)
def test_c_of_hls4ml_rounds_as_we_do(network: IntegerNetwork, tmp_path: Path) -> None:
    """On networks whose sums tie often."""
    pixels = random_pixels(62, count=20)
    logits = run_in("hls4ml", tmp_path, to_qonnx(network), seen(network, pixels))
    assert same(values(network, network.logits(pixels)), logits)


NETWORKS: dict[str, Callable[[], IntegerNetwork]] = {
    **{scheme: lambda scheme=scheme: of_scheme(scheme) for scheme in SCHEMES},
    "half_even by channel": lambda: random_network(4, "half_even", per_channel=True),
    "without ReLU": lambda: random_network(4, "half_up", relu=False, logits="codes"),
    "4 bits": lambda: random_network(4, bits=4, weight_bits=4),
    "a table": lambda: with_table(random_network(4)),
}


@needs_consumers
@pytest.mark.slow
@pytest.mark.parametrize("file", ["network.onnx", "network.qdq.onnx"])
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_openvino_gives_our_logits(
    make: Callable[[], IntegerNetwork], file: str, tmp_path: Path
) -> None:
    network = make()
    pixels = random_pixels(63, count=20, size=network.input.shape[1])
    if file == "network.onnx":
        expected, model = network.logits(pixels).numpy(), to_onnx(network)
    else:  # which rounds half to even, whatever the scheme does
        even = replace(network, rounding="half_even")
        expected, model = values(even, even.logits(pixels)), to_qdq_onnx(network)
    onnx.checker.check_model(model)
    assert same(expected, run_in("openvino", tmp_path, model, pixels.numpy()))
