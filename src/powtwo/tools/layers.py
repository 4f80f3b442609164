"""The layers of the float network, as `inv layers` and docs/lab.md list them.

Shapes, parameters and totals are those of torchsummary 1.5.1; MACs, bytes and accumulator bits
are what hardware must provide.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from powtwo.dataset.images import Shape
from powtwo.network import architecture
from powtwo.network.architecture import LAB_IMAGE, AnyArchitecture
from powtwo.network.graph import GraphArchitecture, GraphNetwork
from powtwo.network.params import Model
from powtwo.network.reading.read import ReadArchitecture, read
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors

LARGEST_PRODUCT = 127 * 128  # of an 8-bit weight and an 8-bit code less its zero point, 128
MB = 2**20
CLASSES = 10  # where nobody says how many
NAMES = {  # of layers without a module of torch.nn
    "relu": "ReLU", "relu6": "ReLU6", "add": "Add", "flatten": "Flatten",
    "maxpool2d": "MaxPool2d", "avgpool2d": "AvgPool2d",
}  # fmt: skip
TITLES = ("layer", "type", "output shape", "parameters", "MACs", "INT8 weights, B",
          "INT8 output, B", "accumulator, bits")  # fmt: skip


@dataclass(frozen=True)
class ModuleShape:
    """A module of the float network and what it takes for one image."""

    kind: str  # the class in torch.nn
    output_shape: tuple[int, ...]  # (C, H, W) or (features,)
    parameters: int
    fan_in: int  # weights that one output sums up; 0: no multiplications
    frozen: int = 0  # parameters among them that training leaves alone
    place: str = ""  # in the network of a user's that it was read of

    @property
    def outputs(self) -> int:
        """Output elements of one image; also their bytes as INT8."""
        return prod(self.output_shape)

    @property
    def macs(self) -> int:
        """Multiplications for one image."""
        return self.fan_in * self.outputs

    @property
    def weight_bytes(self) -> int:
        """Bytes of INT8 weights; biases and batch norms, folded, are not among them."""
        return self.fan_in * self.output_shape[0]

    @property
    def accumulator_bits(self) -> int:
        """Bits of a signed integer that holds every sum of 8-bit products, bias left out."""
        return (self.fan_in * LARGEST_PRODUCT).bit_length() + 1


def of_model(network: AnyArchitecture) -> Iterator[ModuleShape]:
    """Yield each module of the float network, in order; nothing is computed or allocated."""
    if isinstance(network, GraphArchitecture):
        yield from _of_specs(network)
        return
    with torch.device("meta"):
        x = torch.empty(1, *network.image)
        for module in network.build().eval():
            x = module(x)
            yield ModuleShape(
                type(module).__name__,
                tuple(x.shape[1:]),
                sum(parameter.numel() for parameter in module.parameters()),
                module.weight[0].numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0,
            )


def _of_specs(network: GraphArchitecture) -> Iterator[ModuleShape]:
    with torch.device("meta"):
        modules = GraphNetwork(network.specs)._modules
    specs, frozen = network.specs, frozenset[str]()
    places = ("",) * len(specs.layers)
    if isinstance(network, ReadArchitecture):
        frozen, places = network.frozen, network.places
    for index, (spec, shape) in enumerate(zip(specs.layers, specs.shapes, strict=True)):
        module = modules.get(str(index))
        sizes = {name: p.numel() for name, p in module.named_parameters()} if module else {}
        weighted = isinstance(module, nn.Conv2d | nn.Linear)
        yield ModuleShape(
            type(module).__name__ if module else NAMES[spec.kind],
            shape,
            sum(sizes.values()),
            module.weight[0].numel() if weighted else 0,  # type: ignore[union-attr, index]
            sum(size for name, size in sizes.items() if f"{index}.{name}" in frozen),
            places[index],
        )


def cells(modules: list[ModuleShape]) -> list[list[str]]:
    """Return a row for each module, by TITLES."""
    return [[str(index), *_cells(module)] for index, module in enumerate(modules, start=1)]


def _cells(module: ModuleShape) -> list[str]:
    size, outputs = " × ".join(map(str, module.output_shape)), f"{module.outputs:,}"
    macs, weights = f"{module.macs:,}", f"{module.weight_bytes:,}"
    bits = str(module.accumulator_bits)
    if not module.fan_in:
        macs = weights = bits = ""
    return [module.kind, size, f"{module.parameters:,}", macs, weights, outputs, bits]


def totals(modules: list[ModuleShape], image: Shape = LAB_IMAGE) -> dict[str, str]:
    """Return the sums below the table; sizes in MiB, as torchsummary's MB are."""
    parameters = sum(module.parameters for module in modules)
    frozen = sum(module.frozen for module in modules)
    inputs = 4 * prod(image) / MB
    passes = 2 * 4 * sum(module.outputs for module in modules) / MB  # forward and backward
    weights = 4 * parameters / MB
    return {
        "Total params": f"{parameters:,}",
        "Trainable params": f"{parameters - frozen:,}",
        "Non-trainable params": f"{frozen:,}",
        "Total MACs": f"{sum(module.macs for module in modules):,}",
        "Input size (MB)": f"{inputs:.2f}",
        "Forward/backward pass size (MB)": f"{passes:.2f}",
        "Params size (MB)": f"{weights:.2f}",
        "Estimated Total Size (MB)": f"{inputs + passes + weights:.2f}",
    }


def plain_text(modules: list[ModuleShape], image: Shape = LAB_IMAGE) -> str:
    """Return the table and its totals for a terminal."""
    rows = [list(TITLES), *cells(modules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_read = any(module.place for module in modules)
    places = ["from" if is_read else "", *(module.place for module in modules)]
    lines = [
        "  ".join(
            [*map(str.ljust, row[:3], widths), *map(str.rjust, row[3:], widths[3:]), place]
        ).rstrip()
        for row, place in zip(rows, places, strict=True)
    ]  # fmt: skip
    return "\n".join(
        [*lines, "", *(f"{key}: {value}" for key, value in totals(modules, image).items())]
    )


def main() -> None:
    """Print the layers of the network in params.yaml."""
    parser = argparse.ArgumentParser(description="list the layers of the network in params.yaml")
    parser.add_argument("--classes", default="", help="outputs of the last layer")
    classes = parser.parse_args().classes
    with one_line_errors("layers"):
        if classes and not re.fullmatch("[1-9][0-9]{0,5}", classes):
            raise ValueError(f"--classes {classes}: must be a number from 1 on")
        params = schema.load()
        image = params.data.shape
        network = _network(params.model, image, int(classes) if classes else None)
        print(plain_text(list(of_model(network)), image))
        for line in network.notes:
            print(line)


def _network(model: Model, image: Shape, classes: int | None) -> AnyArchitecture:
    """Return the network of so many classes; None: of those that it has, or else of ten."""
    if classes is None and model.files:
        return read(model, image, None)
    return architecture.of_model(model, image, classes or CLASSES)


if __name__ == "__main__":
    main()
