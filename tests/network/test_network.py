"""The lab's network: its layers, its input, its folding, its file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from powtwo.dataset.normalization import Normalization
from powtwo.dataset.params import Pixels
from powtwo.network.architecture import Architecture, of_model
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import outputs
from powtwo.network.folding import fold
from powtwo.network.params import Model

LAB = Architecture((32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 128), 10)

# Worked by hand: 9·in·out + out for a convolution, 2·out for its batch norm, in·out + out.
LAYERS = [
    ("Conv2d", 896), ("BatchNorm2d", 64), ("Conv2d", 9_248), ("BatchNorm2d", 64),
    ("Conv2d", 18_496), ("BatchNorm2d", 128), ("Conv2d", 36_928), ("BatchNorm2d", 128),
    ("Conv2d", 73_856), ("BatchNorm2d", 256), ("Conv2d", 147_584), ("BatchNorm2d", 256),
    ("Conv2d", 295_168), ("BatchNorm2d", 512), ("Conv2d", 590_080), ("BatchNorm2d", 512),
    ("Linear", 262_400), ("Linear", 32_896), ("Linear", 1_290),
]  # fmt: skip

SHAPES = [
    (32, 32, 32), (32, 32, 32), (32, 16, 16), (64, 16, 16), (64, 16, 16), (64, 8, 8),
    (128, 8, 8), (128, 8, 8), (128, 4, 4), (256, 4, 4), (256, 4, 4), (256, 2, 2),
    (1024,), (256,), (128,), (10,),
]  # fmt: skip


def trained_looking(architecture: Architecture, seed: int = 0) -> nn.Sequential:
    """Build a network whose batch norms have statistics, gains and biases of their own."""
    torch.manual_seed(seed)
    network = architecture.build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 2)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_()
    return network.eval()


def pixels(count: int = 4, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


def test_parameters_by_layer_and_in_total() -> None:
    network = LAB.build()
    counts = [(type(m).__name__, sum(p.numel() for p in m.parameters())) for m in network]
    assert [row for row in counts if row[1]] == LAYERS
    assert sum(p.numel() for p in network.parameters()) == 1_470_762


def test_folded_layers_have_the_labs_shapes() -> None:
    layers = fold(trained_looking(LAB))
    kinds = ["conv2d", "conv2d", "maxpool2d"] * 4 + ["flatten"] + ["linear"] * 3
    assert [layer.kind for layer in layers] == kinds
    assert [layer.relu for layer in layers] == [k == "conv2d" for k in kinds[:-3]] + [1, 1, 0]
    images = outputs(layers, Normalization("dyadic")(pixels(1)))
    assert [tuple(output.shape[1:]) for output in images] == SHAPES


@pytest.mark.parametrize(
    "architecture",
    [
        LAB,
        Architecture((4,), (), 2),
        Architecture((3, "M", "M", 5, "M", 2, "M", 4, "M"), (6,), 3),
        Architecture((4, "M", "M", 5, "M", "M"), (6,), 3, (1, 28, 28)),
        Architecture((4, "M", 5, "M", "M"), (), 3, (3, 40, 56)),
    ],
)
def test_folding_changes_nothing_but_rounding(architecture: Architecture) -> None:
    network = trained_looking(architecture).double()
    x = Normalization("dyadic")(pixels(shape=architecture.image), torch.float64)
    *_, folded = outputs(fold(network), x)
    expected = network(x).detach()
    assert folded.dtype == torch.float64
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-12)


def test_folding_by_hand() -> None:
    network = Architecture((1,), (), 1).build()
    convolution, norm = network[0], network[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    convolution.weight.data.fill_(0.5)
    convolution.bias.data.fill_(3.0)  # type: ignore[union-attr]
    norm.eps = 0.25
    for tensor, value in zip(
        (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var),
        (6.0, 7.0, 1.0, 2.0),
        strict=True,
    ):
        tensor.fill_(value)  # type: ignore[union-attr]
    first, *_ = fold(network)  # gain = 6 / sqrt(2.25) = 4
    assert first.weight is not None
    assert first.bias is not None
    assert first.weight.unique().tolist() == [2.0]
    assert first.bias.tolist() == [15.0]  # (3 - 1)·4 + 7


def test_fold_refuses_a_module_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="Sigmoid"):
        fold(nn.Sequential(nn.Sigmoid()))


@pytest.mark.parametrize("kind", ["dyadic", "standard"])
def test_checkpoint_comes_back_with_the_same_bytes(tmp_path: Path, kind: str) -> None:
    network = trained_looking(LAB).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalization = Normalization.of(Pixels(normalize=kind), pixels().numpy())
    checkpoint = Checkpoint(LAB, normalization, network.state_dict())
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    checkpoint.save(first)
    loaded = Checkpoint.load(first)
    loaded.save(second)
    assert (loaded.architecture, loaded.normalization) == (LAB, normalization)
    assert first.read_bytes() == second.read_bytes()
    restored = loaded.network()
    assert not restored.training
    for name, value in network.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value), name


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 40, 56), (1, 32, 32)])
def test_the_file_of_a_stack_names_images_that_are_not_the_labs(
    tmp_path: Path, image: tuple[int, int, int]
) -> None:
    layout = (4, "M", 4, "M")
    architecture = Architecture(layout, (), 3, image)
    assert architecture.describe()["image"] == image
    assert "image" not in Architecture(layout, (), 3).describe()
    weights = architecture.build().state_dict()
    Checkpoint(architecture, Normalization("dyadic"), weights).save(tmp_path / "f")
    assert Checkpoint.load(tmp_path / "f").architecture == architecture


def test_params_name_the_network_for_the_images_there_are() -> None:
    model = Model(layout=[4, "M"], hidden=[5])
    image = (1, 28, 44)
    assert of_model(model, image, 3) == Architecture((4, "M"), (5,), 3, image)
    assert of_model(model.model_copy(update={"name": "resnet8"}), image, 3).image == image
    with pytest.raises(ValueError, match=r"^layout = \[4, 'M'\]: has 1 poolings; a 1x9 image can"):
        of_model(model, (3, 1, 9), 3)


def test_folding_takes_the_nearest_float64_to_each_root() -> None:
    """PyTorch's roots miss the last bit of one in a hundred, and which ones goes by the machine."""
    channels = 4096
    norm = nn.BatchNorm2d(channels)
    norm.running_var = torch.rand(channels, generator=torch.Generator().manual_seed(0))
    convolution = nn.Conv2d(1, channels, 1)
    convolution.weight.data.fill_(1)
    (layer,) = fold(nn.Sequential(convolution, norm))
    variances = (norm.running_var.double() + norm.eps).tolist()
    assert layer.weight is not None
    assert layer.weight.flatten().tolist() == [1 / math.sqrt(v) for v in variances]
