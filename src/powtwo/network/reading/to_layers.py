"""From operations to the layers of `Specs` and the weights of `GraphNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from powtwo.core.graph import IMAGE
from powtwo.core.windows import fits
from powtwo.network.models import same
from powtwo.network.reading.operations import SAME, Operation, Operations
from powtwo.network.spec import LayerSpec, Shape, Specs, output_shape

ONE_SIZE = "choose data.size so that it divides evenly, or average over all of it"


@dataclass
class Layers:
    """Layers so far, their weights, and the operation that each came from."""

    image: Shape
    layers: list[LayerSpec] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)  # the weights that training leaves alone
    steps: list[Operation] = field(default_factory=list)

    def shape(self, index: int) -> Shape:
        """Return the shape of what a layer gives, or of the image."""
        return self.image if index == IMAGE else self.shapes[index]

    def append(self, step: Operation, *sources: int, kind: str = "", **options: Any) -> int:
        """Append a layer and its weights, and return its index.

        Raises:
            ValueError: where it does not fit what it reads.
        """
        index = len(self.layers)
        inputs = None if sources == (index - 1,) else sources
        spec = LayerSpec(kind or step.kind, inputs, **options)
        where = f"{step.name} ({step.operator}): "
        shape = output_shape(where, spec, [self.shape(source) for source in sources])
        self.layers.append(spec)
        self.shapes.append(shape)
        self.steps.append(step)
        return index

    def set_weights(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep copies of a layer's weights, in the order of memory that files have."""
        for name, tensor in tensors.items():
            value = tensor.detach().clone(memory_format=torch.contiguous_format)
            self.weights[f"{index}.{name}"] = value
            if name in ("weight", "bias") and not tensor.requires_grad:
                self.frozen.add(f"{index}.{name}")


def to_layers(network: Operations, image: Shape) -> tuple[Specs, Layers]:
    """Return the layers of a network for images (C, H, W).

    Raises:
        ValueError: where an operation has no layer, or does not fit what it reads.
    """
    layers, values = Layers(image), {network.input: IMAGE}
    for step in network.steps:
        sources = [values[name] for name in step.inputs]
        values[step.output] = APPEND.get(step.kind, _refuse)(layers, step, *sources)
    last = values[network.output]
    if last == IMAGE:
        raise ValueError("gives the images themselves; return logits")
    shape = layers.shape(last)
    step = layers.steps[last]
    step.require(len(shape) == 1, f"gives {shape} at the end", "flatten it to (N, classes)")
    return Specs(image, tuple(layers.layers)), layers


def _refuse(_: Layers, step: Operation, *sources: int) -> int:
    del sources
    rule = {
        "pad": "pads for what is no convolution or pooling",
        "softmax": "stands within the network",
    }.get(step.kind, "has no layer")
    step.refuse(rule, "leave it out")


def _conv2d(layers: Layers, step: Operation, source: int) -> int:
    weight, options = step.tensors["weight"], step.options
    step.require(set(options["dilation"]) == {1}, f"has dilation {options['dilation']}", "use 1")
    shape = _image(layers, step, source)
    inputs = weight.shape[1] * options["groups"]
    step.require(shape[0] == inputs, f"reads {shape}", f"give it {inputs} channels")
    kernel = (weight.shape[2], weight.shape[3])
    index = layers.append(
        step, source, outputs=len(weight), kernel=kernel, stride=options["stride"],
        padding=_padding(layers, step, source, kernel), groups=options["groups"],
        bias="bias" in step.tensors,
    )  # fmt: skip
    layers.set_weights(index, step.tensors)
    return index


def _image(layers: Layers, step: Operation, source: int) -> Shape:
    shape = layers.shape(source)
    step.require(len(shape) == 3, f"reads features {shape}", "put it before the flattening")
    return shape


def _padding(
    layers: Layers, step: Operation, source: int, kernel: tuple[int, int]
) -> tuple[int, ...]:
    """Return (top, left, bottom, right)."""
    padding = step.options["padding"]
    if padding not in SAME:
        return tuple(padding)
    sides = layers.shape(source)[1:]
    rows, columns = step.options["stride"]
    top, _, bottom, _ = same(sides, kernel, rows)
    _, left, _, right = same(sides, kernel, columns)
    fours = {"SAME_UPPER": (top, left, bottom, right), "SAME_LOWER": (bottom, right, top, left)}
    return fours[padding]


def _linear(layers: Layers, step: Operation, source: int) -> int:
    weight, shape = step.tensors["weight"], layers.shape(source)
    rule = f"reads {shape}"
    step.require(shape == (weight.shape[1],), rule, f"give it {weight.shape[1]} features")
    index = layers.append(step, source, outputs=len(weight), bias="bias" in step.tensors)
    layers.set_weights(index, step.tensors)
    return index


def _batch_norm(layers: Layers, step: Operation, source: int) -> int:
    mean = step.tensors["running_mean"]
    channels = layers.shape(source)[0]
    step.require(len(mean) == channels, f"reads {channels} channels", f"give it {len(mean)}")
    index = layers.append(step, source, **step.options)
    defaults = {"weight": torch.ones_like(mean), "bias": torch.zeros_like(mean)}
    count = {"num_batches_tracked": torch.tensor(0)}
    layers.set_weights(index, {**defaults, **step.tensors, **count})
    return index


def _plain(layers: Layers, step: Operation, *sources: int) -> int:
    shapes = {layers.shape(source) for source in sources}
    step.require(len(shapes) == 1, f"reads {sorted(shapes)}", "give it equal shapes")
    return layers.append(step, *sources)


def _dropout(layers: Layers, step: Operation, source: int) -> int:
    return layers.append(step, source, probability=step.options["probability"])


def _pool(layers: Layers, step: Operation, source: int) -> int:
    kernel, stride, dilation = (step.options[key] for key in ("kernel", "stride", "dilation"))
    step.require(set(dilation) == {1}, f"has dilation {dilation}", "use 1")
    _image(layers, step, source)
    padding = given = _padding(layers, step, source, kernel)
    if step.options["ceil"]:
        padding = _with_last_windows(layers.shape(source), kernel, stride, padding)
    if step.kind == "avgpool2d":
        counted = step.options["counts_padding"] and padding == given
        step.require(
            counted or not any(padding),
            "averages over fewer pixels at the borders",
            "count padded pixels (count_include_pad), and do not round sizes up (ceil_mode)",
        )
        if (kernel, stride) == ((1, 1), (1, 1)) and not any(padding):
            return source
    return layers.append(step, source, kernel=kernel, stride=stride, padding=padding)


def _with_last_windows(
    shape: Shape, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the padding with which windows that begin within the image fit whole (ceil_mode)."""
    ends = []
    for side, size, step, before, after in zip(
        shape[1:], kernel, stride, padding[:2], padding[2:], strict=True
    ):
        rounded_up = fits(side, size, step, before, after + step - 1)
        if (rounded_up - 1) * step >= side + before:  # it would begin within the padding
            rounded_up -= 1
        ends.append(max(after, (rounded_up - 1) * step + size - side - before))
    return (*padding[:2], *ends)


def _adaptive(kind: str) -> Callable[..., int]:
    def append(layers: Layers, step: Operation, source: int) -> int:
        sides, size = _image(layers, step, source)[1:], step.options["size"]
        size = tuple(each or side for each, side in zip(size, sides, strict=True))
        even = all(side % each == 0 for side, each in zip(sides, size, strict=True))
        step.require(even, f"makes {size} of {sides}", ONE_SIZE)
        kernel = tuple(side // each for side, each in zip(sides, size, strict=True))
        if kernel == (1, 1):
            return source
        return layers.append(step, source, kind=kind, kernel=kernel, stride=kernel)

    return append


def _reshape(layers: Layers, step: Operation, source: int) -> int:
    shape, wanted = layers.shape(source), tuple(step.options["shape"])
    count = prod(shape)
    known = prod(side for side in wanted if side > 0)
    wanted = tuple(side if side > 0 else count // known for side in wanted)
    if wanted == shape:
        return source
    flat = wanted == (count,) and len(shape) == 3
    step.require(flat, f"makes {wanted} of {shape}", "reshape to (N, features) alone")
    return layers.append(step, source, kind="flatten")


APPEND: dict[str, Callable[..., int]] = {
    "conv2d": _conv2d, "linear": _linear, "batch_norm": _batch_norm, "relu": _plain,
    "relu6": _plain, "add": _plain, "dropout": _dropout, "maxpool2d": _pool, "avgpool2d": _pool,
    "adaptive_maxpool2d": _adaptive("maxpool2d"), "adaptive_avgpool2d": _adaptive("avgpool2d"),
    "reshape": _reshape,
}  # fmt: skip
