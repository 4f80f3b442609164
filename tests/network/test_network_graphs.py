"""Networks that are no stack: with a name or not, folded, and their file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import check_refused, edited
from torch import nn

from powtwo.dataset.normalization import Normalization
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import FoldedLayer, logits, outputs
from powtwo.network.folding import fold
from powtwo.network.graph import GraphArchitecture
from powtwo.network.models import MODELS, same
from powtwo.network.spec import LayerSpec, Specs

IMAGE = (3, 12, 10)


def trained_looking(specs: Specs, seed: int = 0) -> nn.Module:
    """Build a network whose batch norms have statistics, gains and biases of their own."""
    torch.manual_seed(seed)
    network = GraphArchitecture(specs).build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
    return network.eval()


def conv(outputs: int, *inputs: int, **more: Any) -> LayerSpec:
    window = {"kernel": 3, "padding": 1} | more
    return LayerSpec("conv2d", inputs or None, outputs, **window)


def of(kind: str, *inputs: int, **more: Any) -> LayerSpec:
    return LayerSpec(kind, inputs or None, **more)


END = (of("flatten"), LayerSpec("linear", outputs=4))
NORM, RELU, RELU6 = of("batch_norm"), of("relu"), of("relu6")
GRAPHS = {  # layers, and the kinds that they fold into
    "batch norm of the image": ((NORM, conv(4), RELU, *END), "conv2d conv2d flatten linear"),
    "batch norm twice": ((conv(4), NORM, NORM, RELU, *END), "conv2d flatten linear"),
    "batch norm after ReLU": ((conv(4), RELU, NORM, *END), "conv2d conv2d flatten linear"),
    "ReLU of two readers": (  # of which one wants what comes before
        (conv(4), of("relu", 0), conv(4, 1), of("add", 0, 2), *END),
        "conv2d avgpool2d conv2d add flatten linear",
    ),
    "both read the ReLU": (
        (conv(4), RELU, conv(4, 1), of("add", 1, 2), RELU, *END),
        "conv2d conv2d add flatten linear",
    ),
    "a dropout between": (
        (conv(4), of("dropout", probability=0.5), of("relu", 1), of("add", 2, 0), *END),
        "conv2d avgpool2d add flatten linear",
    ),
    "a dropout alone between": (
        (conv(4), of("dropout", probability=0.5), NORM, RELU6, *END),
        "conv2d flatten linear",
    ),
    "ReLU after a pooling": (
        (conv(4), of("maxpool2d", kernel=3, stride=2, padding=(1, 2, 1, 0)), RELU6, *END),
        "conv2d maxpool2d flatten linear",
    ),
    "ReLU after one of two poolings": (
        (conv(4), of("maxpool2d", 0, kernel=1), of("relu", 1), of("add", 2, 0), *END),
        "conv2d maxpool2d avgpool2d add flatten linear",
    ),
    "ReLU after ReLU6": ((conv(4), RELU6, RELU, *END), "conv2d flatten linear"),
    "an average of nine": (
        (conv(4), RELU, of("avgpool2d", kernel=3, stride=2, padding=1), RELU6, *END),
        "conv2d avgpool2d flatten linear",
    ),
    "an average of averages": (
        (conv(4), of("avgpool2d", kernel=3), of("avgpool2d", kernel=(1, 5)), *END),
        "conv2d avgpool2d avgpool2d flatten linear",
    ),
    "an average that is added": (
        (conv(4), of("avgpool2d", kernel=3, padding=1), RELU6, of("add", 0, 2), *END),
        "conv2d avgpool2d conv2d add flatten linear",
    ),
    "an average that is read twice": (
        (conv(4), of("avgpool2d", kernel=3), conv(4, 1), conv(4, 1), of("add", 2, 3), *END),
        "conv2d avgpool2d conv2d conv2d add flatten linear",
    ),
    "an average at the end": (
        (conv(4), of("avgpool2d", kernel=(12, 10)), of("flatten")),
        "conv2d avgpool2d conv2d flatten",
    ),
    "a power of two": (
        (conv(4), of("avgpool2d", kernel=(2, 4)), of("flatten"), LayerSpec("linear", outputs=3)),
        "conv2d avgpool2d flatten linear",
    ),
    "groups": (
        (conv(6), conv(9, groups=3, stride=(2, 1), padding=(0, 1, 2, 1)), NORM, RELU6, *END),
        "conv2d conv2d flatten linear",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    layers, kinds = GRAPHS[name]
    network = trained_looking(Specs(IMAGE, layers)).double()
    folded = fold(network)
    x = 3 * torch.randn(8, *IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(logits(folded, x), network(x).detach(), rtol=0, atol=1e-12)
    assert " ".join(layer.kind for layer in folded) == kinds


@pytest.mark.parametrize("image", [(3, 32, 32), (1, 49, 40), (3, 96, 96)])
@pytest.mark.parametrize("name", MODELS)
def test_named_networks(name: str, image: tuple[int, ...]) -> None:
    network = trained_looking(MODELS[name](image, 10)).double()
    folded, x = fold(network), torch.randn(2, *image, dtype=torch.float64)
    torch.testing.assert_close(logits(folded, x), network(x).detach(), rtol=1e-11, atol=1e-11)
    assert len(folded) == {"resnet8": 15, "dscnn": 12, "mobilenet": 30}[name]


def test_resnet8_is_mlperf_tinys() -> None:
    """Its Keras model has 78,666 parameters, of which 480 are statistics of batch norms."""
    network = GraphArchitecture(MODELS["resnet8"]((3, 32, 32), 10)).build()
    statistics = sum(b.numel() for n, b in network.named_buffers() if "running" in n)
    assert sum(p.numel() for p in network.parameters()) == 78_666 - statistics
    assert statistics == 480
    shapes = [
        tuple(y.shape[1:])
        for y in outputs(fold(network.eval()), torch.zeros(1, 3, 32, 32).double())
    ]
    assert [shape for shape in shapes if len(shape) == 3][-1] == (64, 1, 1)


def test_paddings_that_keep_the_size() -> None:
    assert same((32, 32), 3, 1) == (1, 1, 1, 1)
    assert same((32, 31), 3, 2) == (0, 1, 1, 1)
    assert same((49, 40), (10, 4), 2) == (4, 1, 5, 1)


def test_relu_of_features_is_refused() -> None:
    specs = Specs((3, 1, 1), (of("flatten"), RELU, LayerSpec("linear", outputs=2)))
    with pytest.raises(TypeError, match="module 1 is a relu of features that no layer before it"):
        fold(GraphArchitecture(specs).build())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((of("gelu"), *END), r"layer 0: kind = 'gelu': must be one of conv2d, maxpool2d"),
        ((of("flatten"), NORM), r"layer 1: input = \(360,\): must be \(C, H, W\) for batch_norm"),
        ((LayerSpec("linear", outputs=2),), r"layer 0: input = \(3, 12, 10\): must be features"),
        ((conv(4), of("add", 0, -1), *END), r"layer 1: shape = \(3, 12, 10\): must be \(4, 12"),
        ((conv(4, kernel=13), *END), r"layer 0: kernel = 13: larger than its input \(3, 12, 10\)"),
        ((conv(4, padding=3), *END), r"layer 0: padding = 3: must be below the kernel's 3"),
        ((conv(4, groups=2), *END), r"layer 0: groups = 2: must divide 3 inputs and 4 outputs"),
        ((conv(4),), r"last layer: output = \(4, 12, 10\): must be features, one for each class"),
        ((conv(4), conv(4, 0), of("flatten", 0)), "layer 1: output: read by no layer"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers: tuple[LayerSpec, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Specs(IMAGE, layers)


def checkpoint(specs: Specs | None = None) -> Checkpoint:
    specs = specs or Specs(IMAGE, GRAPHS["groups"][0])
    weights = dict(trained_looking(specs).state_dict())
    return Checkpoint(GraphArchitecture(specs), Normalization("dyadic"), weights)


@pytest.mark.parametrize("name", ["resnet8", "groups", "a dropout between"])
def test_checkpoint_comes_back_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    specs = MODELS[name]((1, 32, 32), 10) if name in MODELS else Specs(IMAGE, GRAPHS[name][0])
    saved = checkpoint(specs)
    saved.save(tmp_path / "a")
    loaded = Checkpoint.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert loaded.architecture.classes == specs.classes
    assert not loaded.network().training
    pairs = zip(fold(loaded.network()), fold(saved.network()), strict=True)
    assert all(same_layer(*pair) for pair in pairs)


def same_layer(one: FoldedLayer, other: FoldedLayer) -> bool:
    parts = [(getattr(one, name), getattr(other, name)) for name in ("weight", "bias")]
    equal = all(a is b is None or torch.equal(a, b) for a, b in parts)
    return equal and (one.kind, one.inputs, one.groups) == (other.kind, other.inputs, other.groups)


def layer(index: int, **changes: Any) -> Any:
    return lambda values: values["architecture"]["layers"][index].update(changes)


EDITS = {
    "kind": (layer(0, kind="x"), "layer 0: kind = 'x': must be one of conv2d"),
    "inputs": (layer(1, inputs=[1]), "layer 1: inputs = [1]: must be earlier layers, -1 (the"),
    "kernel": (layer(0, kernel=None), "layer 0: kernel = None: conv2d needs it"),
    "kernel 0": (layer(0, kernel=0), "layer 0: kernel = 0: must be at least 1"),
    "kernel of three": (layer(0, kernel=[3, 3, 3]), "layer 0: kernel = [3, 3, 3]: must be a numb"),
    "padding of three": (layer(1, padding=[0, 1, 1]), "layer 1: padding = [0, 1, 1]: must be a nu"),
    "outputs": (layer(5, outputs=None), "layer 5: outputs = None: linear needs it"),
    "other outputs": (layer(5, outputs=5), "5.weight: shape = (4, "),
    "epsilon": (layer(2, epsilon=0.0), "architecture layers 2 epsilon = 0.0: must be greater"),
    "unknown key": (layer(0, x=1), "architecture layers 0 x = 1: unknown key"),
    "image": (
        lambda v: v["architecture"].update(image=[3, 1, 1]),
        "5.weight: shape = (4, 540): must be (4, 9)",
    ),
    "layers": (
        lambda v: v["architecture"].update(layers=[]),
        "architecture layers = []: list should have at least 1",
    ),
    "digest": (layer(2, epsilon=0.5), "sha256 = "),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    edit, reason = EDITS[name]
    path = tmp_path / "f"
    checkpoint().save(path)
    path.write_bytes(edited(path.read_bytes(), edit))
    check_refused(Checkpoint.load, path, reason, "run the train stage again")


def test_training_runs() -> None:
    torch.manual_seed(0)
    network = GraphArchitecture(MODELS["dscnn"]((3, 32, 32), 10)).build()
    loss = nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert math.isfinite(loss.item())
