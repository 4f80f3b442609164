"""PT2E on networks that are no stacks gives our codes too, and their logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import vision
from small_graph import CLASSES, checkpoint, images
from small_vgg import scheme

from powtwo.calibration.exponents import calibrate
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.conversion.to_integer import convert
from powtwo.dataset.normalization import Normalization
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import logits
from powtwo.network.folding import fold
from powtwo.network.graph import GraphArchitecture
from powtwo.network.reading import torch_module
from powtwo.network.reading.read import layered
from powtwo.network.spec import LayerSpec, Specs

pytest.importorskip("torchao", reason="torchao is not installed: pip install powtwo[torchao]")

from runtimes import values
from test_pt2e import CodeRecorder, half_even
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from powtwo import pt2e


def of_specs(*layers: LayerSpec) -> Checkpoint:
    """Return a network with random weights, the first large, on the images of `small_graph`."""
    torch.manual_seed(3)
    architecture = GraphArchitecture(Specs(checkpoint().architecture.image, layers))
    network = architecture.build()
    with torch.no_grad():
        next(network.parameters()).mul_(30)  # so that ReLU6 cuts
    return Checkpoint(architecture, checkpoint().normalization, dict(network.state_dict()))


def compare(network: Checkpoint, options: Scheme, pixels: torch.Tensor) -> None:
    """Assert that every code is ours, and every logit."""
    classes = tuple(map(str, range(network.architecture.classes)))
    calibrated = in_float32(calibrate(network, classes, pixels, options, 8))
    conversion = convert(calibrated, "pt2e", options)
    assert not conversion.moves
    ours, x = conversion.network, network.normalization(pixels)
    exported = torch.export.export(pt2e.float_network(calibrated.folded), (x,), strict=True)
    prepared = prepare_pt2e(exported.module(), pt2e.PowerOfTwoQuantizer(options))
    prepared(x)
    recorder = Recorder(convert_pt2e(prepared))
    result = recorder.run(x)
    outputs = [ours.input.encode(pixels), *(output for _, output in ours.outputs(pixels))]
    expected = torch.from_numpy(values(ours, outputs[-1]))
    assert torch.equal(result.double(), expected.double())
    if ours.last_sums.output is None:
        outputs = outputs[: ours.origin(len(ours.layers) - 1) + 1]
    same(outputs, recorder.codes)


def in_float32(calibrated: Calibrated) -> Calibrated:
    """Round weights and biases as PT2E's float network does, which may decide a tie of codes."""
    layers = []
    for layer in calibrated.layers:
        rounded = {name: None if value is None else value.float().double()
                   for name in ("weight", "bias")
                   for value in (getattr(layer.folded, name),)}  # fmt: skip
        layers.append(replace(layer, folded=replace(layer.folded, **rounded)))
    return replace(calibrated, layers=tuple(layers))


class Recorder(CodeRecorder):
    """Keeps the codes that layers give, and not those that are padded."""

    def run_node(self, node: torch.fx.Node) -> object:
        count, result = len(self.codes), super().run_node(node)
        source = node.args[0] if node.args else None
        if isinstance(source, torch.fx.Node) and source.target == torch.ops.aten.pad.default:
            del self.codes[count:]
        return result


def same(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(one, other), index - 1


@pytest.mark.parametrize(
    "options",
    [half_even(), half_even("minmax-floor", bits=5), half_even("minmax-round", logits="codes")],
    ids=["8 bits", "5 bits, clipped", "coded logits"],
)
def test_a_residual_network_has_our_codes_and_logits(options: Scheme) -> None:
    compare(checkpoint(), options, images())


@pytest.mark.parametrize("coded", ["int32", "codes"])
def test_what_is_averaged_last_gives_logits_and_may_be_added_to_itself(coded: str) -> None:
    network = of_specs(
        LayerSpec("conv2d", outputs=4, kernel=3, stride=2, padding=(0, 1, 2, 0)),
        LayerSpec("relu6"),
        LayerSpec("add", (1, 1)),
        LayerSpec("avgpool2d", kernel=(2, 3), stride=1, padding=1),  # 6 positions, no power of two
        LayerSpec("conv2d", outputs=4, kernel=1, groups=2),
        LayerSpec("add", (4, 3)),
        LayerSpec("avgpool2d", kernel=4),
        LayerSpec("flatten"),
    )
    folded = fold(network.network())
    x = network.normalization(images())
    exact = logits(folded, x.double())
    assert torch.allclose(pt2e.float_network(folded)(x).double(), exact, atol=1e-6)
    compare(network, half_even(logits=coded), images())


def test_a_max_pooling_that_pytorch_cannot_pad_is_refused() -> None:
    network = of_specs(
        LayerSpec("maxpool2d", kernel=3, padding=(0, 1, 1, 1)),
        LayerSpec("flatten"),
        LayerSpec("linear", outputs=len(CLASSES)),
    )
    with pytest.raises(ValueError, match=r"^layer 0: padding = \(0, 1, 1, 1\): PT2E's max"):
        pt2e.float_network(fold(network.network()))


def test_a_scheme_that_floors_is_refused_for_graphs_too() -> None:
    with pytest.raises(ValueError, match="^rounding = floor"):
        pt2e.PowerOfTwoQuantizer(scheme(rounding="floor"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "factor"), vision.FACTORS.items())
def test_networks_of_torchvision_have_our_codes(name: str, factor: int) -> None:
    module, image = vision.network(name, factor), (3, 32, 32)
    made = torch_module.made(module, image)
    read = layered(made, Path("net.py"), image, vision.CLASSES)
    network = Checkpoint(read, Normalization("dyadic"), read.weights)
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, *image), dtype=torch.uint8, generator=draws)
    compare(network, half_even(), pixels)
