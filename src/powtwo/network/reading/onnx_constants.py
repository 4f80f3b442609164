"""An ONNX file with all computed that depends on constants and on the size of images alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

STANDARD = ("", "ai.onnx")
Shapes = dict[str, tuple[int, ...]]


class Constants(dict[str, Any]):
    """Arrays by name, and the weights that each was computed of."""

    def __init__(self, model: onnx.ModelProto) -> None:
        initializers = model.graph.initializer
        super().__init__({each.name: numpy_helper.to_array(each) for each in initializers})
        self._origin: dict[str, str] = {}

    def origin(self, name: str) -> str:
        """Return the weights of the file that a constant was computed of, or itself."""
        return self._origin.get(name, name)

    def compute(self, node: onnx.NodeProto, model: onnx.ModelProto) -> None:
        """Compute the outputs of a node that reads constants alone."""
        inputs = {name: self[name] for name in node.input if name}
        read, given = ([helper.make_empty_tensor_value_info(name) for name in names]
                       for names in (inputs, node.output))  # fmt: skip
        graph = helper.make_graph([node], "constants", read, given)
        one = helper.make_model(
            graph, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        results = ReferenceEvaluator(one).run(None, inputs)
        self.update(zip(node.output, map(np.asarray, results), strict=True))
        weights = [self.origin(name) for name in inputs if np.ndim(inputs[name]) >= 2]
        if len(weights) == 1:
            self._origin |= dict.fromkeys(node.output, weights[0])


def simplified(
    model: onnx.ModelProto, source: str, shape: list[int]
) -> tuple[list[onnx.NodeProto], Constants, Shapes]:
    """Return the nodes that remain for an input of this shape, the constants, and all shapes.

    Raises:
        ValueError: where nodes do not fit this shape.
    """
    model = _with_input(model, source, shape)
    constants, nodes = Constants(model), list(model.graph.node)
    while True:  # shapes tell constants, and constants tell shapes
        shapes = _shapes(model, constants, nodes)
        left = [node for node in nodes if not _computed(node, constants, shapes, model)]
        if len(left) == len(nodes):
            return nodes, constants, shapes
        nodes = left


def _computed(
    node: onnx.NodeProto, constants: Constants, shapes: Shapes, model: onnx.ModelProto
) -> bool:
    """Compute a node if it can be, and tell whether it was."""
    if node.domain not in STANDARD or node.op_type.startswith("Random"):
        return False
    if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
        return False
    known = shapes.get(node.input[0]) if node.op_type == "Shape" else None
    if known and 0 not in known:
        first, last = (helper.get_node_attr_value(node, name) if _has(node, name) else otherwise
                       for name, otherwise in (("start", 0), ("end", len(known))))  # fmt: skip
        constants[node.output[0]] = np.array(known[first:last], dtype=np.int64)
    elif all(name in constants for name in node.input if name):
        constants.compute(node, model)
    return node.output[0] in constants


def _has(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name for attribute in node.attribute)


def _with_input(model: onnx.ModelProto, source: str, shape: list[int]) -> onnx.ModelProto:
    """Return a copy whose input has this shape, and whose other shapes are not known."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")  # may say another batch
    for value in copy.graph.input:
        if value.name == source:
            dims = [onnx.TensorShapeProto.Dimension(dim_value=side) for side in shape]
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=dims))
    return copy


def _shapes(model: onnx.ModelProto, constants: Constants, nodes: list[onnx.NodeProto]) -> Shapes:
    """Infer the shapes of all values; 0 stands for a side that is not known."""
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    stored = {each.name for each in model.graph.initializer}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in constants.items() if name not in stored
    )  # fmt: skip
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise ValueError(f"does not fit these images ({error})") from None
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in [*inferred.value_info, *inferred.output, *inferred.input]
    }
