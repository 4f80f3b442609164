"""What each ONNX operator says: from a node of a file to operations, of every opset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from powtwo.network.reading.operations import SAME, Operation
from powtwo.network.reading.torch_operators import check_epsilon, cut, mean

SEVERAL = ("Add", "Sum", "Max", "Concat", "MatMul", "Gemm")  # read more than one value
Result = Operation | list[Operation]


class Node:
    """A node of a file, with the constants and shapes of the values around it."""

    def __init__(
        self,
        node: onnx.NodeProto,
        name: str,
        constants: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.node, self.name, self._constants, self._shapes = node, name, constants, shapes
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def __call__(self, kind: str, *inputs: str, **options: Any) -> Operation:
        """Return an operation of a kind on values, the first input where none is given."""
        tensors = options.pop("tensors", {})
        inputs, operator = inputs or (self.node.input[0],), self.node.op_type
        made = Operation(kind, self.name, operator, inputs, self.node.output[0], options, tensors)
        constant = [each for each in inputs if each in self._constants]
        made.require(not constant, f"reads the constant {constant}", "give it a value of images")
        used = [each for each in self.node.output[1:] if each]
        made.require(
            not used or kind in ("identity", "batch_norm"), f"gives {used}", "leave it out"
        )
        return made

    def attribute(self, name: str, otherwise: Any = None) -> Any:
        """Return an attribute as a plain value."""
        value = self._attributes.get(name, otherwise)
        return value.decode() if isinstance(value, bytes) else value

    def constant(self, index: int) -> Any:
        """Return an input that is a constant; None where there is none."""
        name = self.node.input[index] if index < len(self.node.input) else ""
        return self._constants.get(name) if name else None

    def setting(self, name: str, index: int) -> Any:
        """Return what older opsets have as an attribute, and newer ones as an input."""
        value = self.attribute(name)
        value = self.constant(index) if value is None else value
        return value.tolist() if isinstance(value, np.ndarray) else value

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output, 0 where a side is not known."""
        return self._shapes.get(self.node.output[0], ())


def _conv(node: Node) -> Operation:
    weight = _tensor(node.constant(1))
    tensors = {} if weight is None else {"weight": weight}
    tensors |= {} if node.constant(2) is None else {"bias": _tensor(node.constant(2))}  # type: ignore[dict-item]
    made = node("conv2d", **_window(node), groups=node.attribute("group", 1), tensors=tensors)
    made.require(weight is not None, "has weights that are no constants", "store them in the file")
    made.require(weight.dim() == 4, "is no convolution of images", "use two dimensions")  # type: ignore[union-attr]
    return made


def _window(node: Node) -> dict[str, Any]:
    """Return stride, padding and dilation."""
    padding = node.attribute("auto_pad", "NOTSET")
    if padding not in SAME:
        padding = tuple(node.attribute("pads", (0, 0, 0, 0))) if padding == "NOTSET" else (0,) * 4
    stride, dilation = node.attribute("strides", (1, 1)), node.attribute("dilations", (1, 1))
    return {"stride": tuple(stride), "padding": padding, "dilation": tuple(dilation)}


def _pool(kind: str) -> Callable[[Node], Operation]:
    def make(node: Node) -> Operation:
        return node(
            kind, **_window(node), kernel=tuple(node.attribute("kernel_shape")),
            ceil=bool(node.attribute("ceil_mode", 0)),
            counts_padding=bool(node.attribute("count_include_pad", 0)),
        )  # fmt: skip

    return make


def _gemm(node: Node) -> Operation:
    weight, bias = _tensor(node.constant(1)), _tensor(node.constant(2))
    made = node("linear")
    plain = weight is not None and not node.attribute("transA", 0)
    made.require(plain, "is no linear layer", "multiply features by constant weights")
    assert weight is not None
    weight = weight if node.attribute("transB", 0) else weight.t()
    tensors = {"weight": (weight * node.attribute("alpha", 1.0)).contiguous()}
    if bias is not None:
        bias = (bias * node.attribute("beta", 1.0)).reshape(-1)
        tensors["bias"] = bias.expand(len(tensors["weight"])).contiguous()
    return node("linear", tensors=tensors)


def _matmul(node: Node) -> Operation:
    weight = _tensor(node.constant(1))
    made = node("linear")
    fits = weight is not None and weight.dim() == 2
    made.require(fits, "is no linear layer", "multiply features by constant weights")
    assert weight is not None
    return node("linear", tensors={"weight": weight.t().contiguous()})


def _add(node: Node) -> Result:
    names = list(node.node.input)
    constants = [index for index in range(len(names)) if node.constant(index) is not None]
    if len(names) == 1:
        return node("identity")
    if len(names) == 2 and len(constants) == 1:
        value, constant = names[1 - constants[0]], _tensor(node.constant(constants[0]))
        assert constant is not None
        return node("bias", value, tensors={"bias": constant})
    made = node("add", *names[:2])
    made.require(len(names) == 2, f"adds {len(names)} values", "add two at a time")
    return made


def _batch_norm(node: Node) -> Operation:
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: _tensor(node.constant(1 + index)) for index, name in enumerate(names)}
    momentum = round(1 - node.attribute("momentum", 0.9), 6)  # of float32
    made = node(
        "batch_norm", epsilon=node.attribute("epsilon", 1e-5), momentum=momentum, tensors=tensors
    )
    check_epsilon(made)
    known = all(tensor is not None for tensor in tensors.values())
    plain = known and not node.attribute("training_mode", 0)
    made.require(plain, "has no constant statistics", "export the network for inference")
    return made


def _clip(node: Node) -> Operation:
    limits = [node.setting("min", 1), node.setting("max", 2)]
    low, high = (each[0] if isinstance(each, list) and each else each for each in limits)
    return cut(node, node.node.input[0], low, high)


def _maximum(node: Node) -> Operation:
    """Return what PyTorch's newer exporter has for values that are cut at 0."""
    names = list(node.node.input)
    constants = [index for index in range(len(names)) if node.constant(index) is not None]
    if len(names) != 2 or len(constants) != 1:
        node("relu", *names).refuse("takes the largest of several values", "use Relu")
    lowest = np.asarray(node.constant(constants[0]))
    return cut(node, names[1 - constants[0]], lowest.item() if lowest.size == 1 else lowest, None)


def _mean(node: Node) -> list[Operation]:
    axes = node.setting("axes", 1)
    return mean(node, node.node.input[0], axes, bool(node.attribute("keepdims", 1)))


def _reshape(node: Node) -> Operation:
    shape = node.shape
    if 0 in shape or not shape:  # as one that is computed may be
        constant = node.constant(1)
        shape = () if constant is None else tuple(constant.tolist())
    made = node("reshape", shape=shape[1:])
    made.require(len(shape) > 1, "has a shape that is not known", "reshape to (N, features)")
    return made


def _flatten(node: Node) -> Operation:
    made = node("reshape", shape=(-1,))
    axis = node.attribute("axis", 1)
    made.require(axis in (1, -3), f"has axis = {axis}", "flatten from axis 1 on")
    return made


def _concat(node: Node) -> Operation:
    return node("concat", *node.node.input, axis=node.attribute("axis"))


def _dropout(node: Node) -> Operation:
    made = node("identity")
    training = node.constant(2)
    made.require(training is None or not training, "is in training mode", "export for inference")
    return made


def _pad(node: Node) -> Operation:
    pads, value = node.setting("pads", 1), node.attribute("value", node.constant(2))
    axes = node.constant(3)
    axes = list(range(4)) if axes is None else [axis % 4 for axis in axes.tolist()]
    made = node("pad")
    made.require(pads is not None, "has paddings that are no constants", "store them in the file")
    by_axis = dict(zip([*axes, *(axis + 4 for axis in axes)], pads, strict=True))
    sides = tuple(by_axis.get(axis, 0) for axis in (2, 3, 6, 7))
    zero = node.attribute("mode", "constant") == "constant" and not value and min(pads) >= 0
    zero = zero and not any(by_axis.get(axis) for axis in (0, 1, 4, 5))
    made.require(zero, "pads with other than zeros around images", "pad height and width by zeros")
    return node("pad", padding=sides)


def _softmax(log: bool) -> Callable[[Node], Operation]:
    return lambda node: node("softmax", log=log, axis=node.attribute("axis", -1))


def _plain(kind: str, **options: Any) -> Callable[[Node], Operation]:
    return lambda node: node(kind, **options)


def _tensor(value: Any) -> Tensor | None:
    if value is None:
        return None
    return torch.from_numpy(np.array(value, dtype=np.float32)).requires_grad_()


OPERATORS: dict[str, Callable[[Node], Result]] = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _matmul, "BatchNormalization": _batch_norm,
    "Relu": _plain("relu"), "Clip": _clip, "Max": _maximum, "Add": _add, "Sum": _add,
    "MaxPool": _pool("maxpool2d"), "AveragePool": _pool("avgpool2d"),
    "GlobalAveragePool": _plain("adaptive_avgpool2d", size=(1, 1)),
    "GlobalMaxPool": _plain("adaptive_maxpool2d", size=(1, 1)), "ReduceMean": _mean,
    "Reshape": _reshape, "Squeeze": _reshape, "Unsqueeze": _reshape, "Flatten": _flatten,
    "Concat": _concat, "Pad": _pad, "Dropout": _dropout, "Identity": _plain("identity"),
    "Softmax": _softmax(log=False), "LogSoftmax": _softmax(log=True),
}  # fmt: skip
