"""torchvision's networks, exported by PyTorch and imported: floats near, integers equal.

Nobody here wrote the networks, the exporter, or the runtimes that they are compared in.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pytest
import torch
from export_cases import needs
from runtimes import Runtime, run_ort, run_reference, same, with_outputs
from small_vgg import scheme
from test_c99 import is_right
from vision import CLASSES, FACTORS, NAMES, export, network

from powtwo.calibration.exponents import calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.engine.floats import Float
from powtwo.engine.int8 import Int8
from powtwo.export.onnx.integer import to_onnx
from powtwo.integer.network import IntegerNetwork
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.reading import onnx_file, torch_module
from powtwo.network.reading.read import ReadArchitecture, layered

pytestmark = pytest.mark.slow

PLAIN = scheme("minmax-round", rounding="half_even")
POWERS = Scheme.model_validate(
    {
        "weights": {"observer": "mse", "bits": 4, "kind": "power_of_two", "per": "channel"},
        "activations": {"observer": "minmax-ceil", "bits": 8, "zero_point": 0},
        "rounding": "floor",
    }
)
SCHEMES = {"half_even": PLAIN, "power of two": POWERS}


def pixels(size: int, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@cache
def imported(name: str, factor: int, size: int) -> ReadArchitecture:
    """Export and import a network, and compare its floats with ONNX Runtime's."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        export(network(name, factor), path, size)
        image = (3, size, size)
        architecture = layered(onnx_file.made(onnx_file.load(path), image), path, image, CLASSES)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        x = Normalization("dyadic")(pixels(size)).float()
        (theirs,) = session.run(None, {"x": x.numpy()})
    with torch.inference_mode():
        ours = architecture.build().eval()(x).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1, abs(theirs).max()))
    return architecture


@cache
def converted(name: str, factor: int, size: int, kind: str) -> IntegerNetwork:
    architecture = imported(name, factor, size)
    checkpoint = Checkpoint(architecture, Normalization("dyadic"), architecture.weights)
    classes = tuple("abcdefghij")
    calibrated = calibrate(checkpoint, classes, pixels(size), SCHEMES[kind], batch_size=4)
    return to_integer.convert(calibrated, "s", SCHEMES[kind]).network


def codes_agree(integers: IntegerNetwork, images: torch.Tensor, run: Runtime) -> bool:
    """Compare all codes and the logits of the integer-only graph with the reference's.

    SqueezeNet's sums are flattened into logits: they have no tensor of their own.
    """
    last = len(integers.layers) - 1
    coded = [index for index in range(last) if integers.codes(index) is not None]
    names = [*(f"layer{index}" for index in coded), "logits"]
    theirs = run(with_outputs(to_onnx(integers), names), images.numpy())
    ours = [output for _, output in integers.outputs(images)]
    expected = [ours[index] for index in (*coded, last)]
    return all(same(*pair) for pair in zip(expected, theirs, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_read_as_their_files_are(name: str) -> None:
    module, image = network(name, FACTORS[name]), (3, 32, 32)
    made = torch_module.made(module, image)
    architecture = layered(made, Path("net.py"), image, CLASSES)
    x = torch.randn(2, *image)
    with torch.inference_mode():
        ours = architecture.build().eval()(x)
        torch.testing.assert_close(ours, module(x), rtol=1e-4, atol=1e-4)


def agrees_everywhere(integers: IntegerNetwork, images: torch.Tensor) -> bool:
    """Compare every output of both engines and both ONNX runtimes with the reference's."""
    reference = [output for _, output in integers.outputs(images)]
    assert all(len(output.unique()) > 1 for output in reference), "no layer is constant"
    for engine in (Float(integers), Int8(integers)):
        outputs = list(engine.outputs(images))
        assert all(torch.equal(*pair) for pair in zip(outputs, reference, strict=True)), engine.name
    return codes_agree(integers, images, run_ort) and codes_agree(
        integers, images[:1], run_reference
    )


@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_narrow_networks_give_every_code_everywhere(name: str, kind: str) -> None:
    assert agrees_everywhere(converted(name, FACTORS[name], 32, kind), pixels(32, 3))


@needs("gcc")
@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_narrow_networks_give_every_code_in_c(name: str, kind: str) -> None:
    integers = converted(name, FACTORS[name], 32, kind)
    assert is_right(integers, pixels(32, 2).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_whole_networks_give_every_code_everywhere(name: str) -> None:
    assert agrees_everywhere(converted(name, 1, 64, "half_even"), pixels(64, 2))


@needs("gcc")
@pytest.mark.parametrize("name", NAMES)
def test_whole_networks_give_every_code_in_c(name: str) -> None:
    assert is_right(converted(name, 1, 64, "half_even"), pixels(64, 1).numpy())
