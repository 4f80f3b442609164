"""What params.yaml names of the user's, as layers with weights.

What was read runs beside what it was read of, with its weights and with random ones: an operator
that is misread is no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from powtwo.core import graph
from powtwo.core.strict import in_one_line
from powtwo.dataset.normalization import Normalization
from powtwo.network import source
from powtwo.network.folded import FoldedLayer
from powtwo.network.folding import fold
from powtwo.network.graph import GraphArchitecture, GraphNetwork
from powtwo.network.params import Model
from powtwo.network.reading import opened
from powtwo.network.reading.operations import ClassesError, Made, Operation
from powtwo.network.reading.rewrites import rewritten, split_softmax
from powtwo.network.reading.to_layers import Layers, to_layers
from powtwo.network.spec import Specs

TOLERANCE = 1e-4  # of float32 sums in another order, relative to the largest output


@dataclass(frozen=True)
class ReadArchitecture(GraphArchitecture):
    """A network that was read, with the weights it came with."""

    weights: dict[str, Tensor] = field(compare=False)
    frozen: frozenset[str] = field(compare=False)  # the weights that training leaves alone
    places: tuple[str, ...] = field(compare=False)  # of each layer in the user's network
    said: tuple[str, ...] = field(compare=False)  # a line each

    @property
    def trains(self) -> bool:
        """Whether training has a parameter to change."""
        return any(parameter.requires_grad for parameter in self.build().parameters())

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what to say of the network, a line each."""
        return self.said

    def build(self) -> GraphNetwork:
        """Build the network with the weights that it came with."""
        network = super().build()
        network.load_state_dict(self.weights)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        return network


def read(model: Model, image: tuple[int, int, int], classes: int | None) -> ReadArchitecture:
    """Read a network for images (C, H, W) and so many classes; None: as many as it may have.

    Raises:
        ValueError: where it has what no layer says, or is for other images or classes.
        OSError: where there is no such file.
    """
    path, names = Path(model.python or model.onnx or ""), source.names(model)
    with _named(path):
        if model.python:
            made = _torch_module(model, path, names, image, classes)
        else:
            made = _onnx_file(path, image)
        return layered(made, path, image, classes)


def layered(
    made: Made, path: Path, image: tuple[int, int, int], classes: int | None
) -> ReadArchitecture:
    """Return the layers of what a front end has read, compared with what runs it.

    Raises:
        ValueError: as `read` does.
    """
    specs, layers, softmax = _layers(made, image)
    if classes is not None and specs.classes != classes:
        raise ValueError(
            f"gives {specs.classes} outputs, and the images have {classes} classes; give the last "
            "layer as many outputs"
        )
    notes = tuple(f"{path}: {note}" for note in _notes(layers, softmax))
    places = tuple(step.name for step in layers.steps)
    architecture = ReadArchitecture(specs, layers.weights, frozenset(layers.frozen), places, notes)
    _check_folding(architecture, layers.steps)
    _check_file(architecture)
    _check_equal(architecture, _outputs(made, image), softmax)
    with made.randomized():  # zeros in the last layer would hide all before it
        _check_any_weights(architecture, made, softmax)
    return architecture


def _check_any_weights(
    architecture: ReadArchitecture, made: Made, softmax: Operation | None
) -> None:
    """Compare outputs again, unless random weights make another network, or none."""
    try:
        specs, layers, _ = _layers(made, architecture.image)
    except ValueError:  # a weight that is a shape, or a limit
        return
    theirs = _outputs(made, architecture.image)
    if specs == architecture.specs and theirs.isfinite().all():
        _check_equal(replace(architecture, weights=layers.weights), theirs, softmax)


def _layers(made: Made, image: tuple[int, int, int]) -> tuple[Specs, Layers, Operation | None]:
    """Return the layers of a network up to its logits, and the softmax after them, if any."""
    operations, softmax = split_softmax(rewritten(made.operations()))
    return *to_layers(operations, image), softmax


def _notes(layers: Layers, softmax: Operation | None) -> Iterator[str]:
    if softmax is not None:
        name = f"{softmax.name} ({softmax.operator})"
        yield f"{name} is left out: logits are trained and quantized"
    if layers.frozen:
        yield (
            f"{len(layers.frozen)} weights and biases keep their values in training, as "
            "requires_grad=False says, or affine=False of a batch norm"
        )


def _check_file(architecture: ReadArchitecture) -> None:
    """Refuse now what the file of the trained network would refuse after training."""
    from powtwo.network.checkpoint import Checkpoint  # noqa: PLC0415 (imports this package)

    Checkpoint(architecture, Normalization("dyadic"), architecture.weights).check()


def _torch_module(
    model: Model,
    path: Path,
    names: Sequence[Path],
    image: tuple[int, int, int],
    classes: int | None,
) -> Made:
    from powtwo.network.reading import (  # noqa: PLC0415 (no other network needs them)
        torch_function,
        torch_module,
    )

    assert model.function is not None
    with opened.noted() as paths:
        module = torch_function.load(path, model.function, image, classes)
    opened.check(paths, names)
    return torch_module.made(module, image)


def _onnx_file(path: Path, image: tuple[int, int, int]) -> Made:
    from powtwo.network.reading import onnx_file  # noqa: PLC0415 (no other network needs it)

    return onnx_file.made(onnx_file.load(path), image)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have an error of the block name the file, in one line."""
    try:
        yield
    except ValueError as error:
        kind = ClassesError if isinstance(error, ClassesError) else ValueError
        raise kind(f"{path}: {in_one_line(error)}") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # of a network that no rule foresees
        reason = f"{type(error).__name__}: {in_one_line(error)}"
        raise ValueError(
            f"{path}: cannot be read ({reason}); docs/networks.md lists what is read"
        ) from error


def _check_folding(architecture: ReadArchitecture, steps: list[Operation]) -> None:
    """Refuse now what folding would refuse after training."""
    try:
        layers = fold(architecture.build().eval())
    except TypeError as error:
        index = re.match(r"module (\d+) is ", str(error))
        if index is None:
            raise ValueError(str(error)) from None
        step = steps[int(index[1])]
        reason = str(error).removeprefix(index[0])
        raise ValueError(f"{step.name} ({step.operator}): is {reason}") from None
    _check_logits(layers)


def _check_logits(layers: Sequence[FoldedLayer]) -> None:
    """Refuse logits that no accumulators can be."""
    if all(layer.weight is None for layer in layers):
        raise ValueError("has no weights; add a convolution or a linear layer")
    reads, last = graph.sources(layers), len(layers) - 1
    while last != graph.IMAGE and not layers[last].accumulates:
        if layers[last].kind == "maxpool2d":
            raise ValueError(
                "its logits come from a max pooling; end with a linear layer or an average"
            )
        (last,) = reads[last]


def _outputs(made: Made, image: tuple[int, int, int]) -> Tensor:
    with torch.inference_mode():
        return made.run(_images(image))


def _check_equal(architecture: ReadArchitecture, theirs: Tensor, softmax: Operation | None) -> None:
    """Compare outputs on random images with those of the network's maker.

    Raises:
        ValueError: where they differ by more than the order of float32 sums explains.
    """
    with torch.inference_mode():
        ours: Tensor = architecture.build().eval()(_images(architecture.image))
    if softmax is not None:
        ours = ours.log_softmax(1) if softmax.options["log"] else ours.softmax(1)
    largest = max(1.0, theirs.abs().max().item())
    difference = (ours - theirs).abs().max().item() / largest
    if not difference <= TOLERANCE:
        raise ValueError(
            f"was misread: outputs differ by {difference:.2g} of the largest; where an operator "
            "works in place (inplace=True), use one that does not, or tell us"
        )


def _images(image: tuple[int, int, int]) -> Tensor:
    return torch.randn(2, *image, generator=torch.Generator().manual_seed(0))
