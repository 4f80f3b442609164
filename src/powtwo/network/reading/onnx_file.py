"""From a float ONNX file to operations.

The batch may be fixed or not; what depends on constants alone is computed first.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import torch
from torch import Tensor

from powtwo.network.reading import randomized
from powtwo.network.reading.onnx_constants import STANDARD, Constants, Shapes, simplified
from powtwo.network.reading.onnx_operators import OPERATORS, SEVERAL, Node
from powtwo.network.reading.operations import (
    Made,
    Operation,
    Operations,
    Parameters,
    refuse_operator,
)

BATCH = 2  # images, where the file does not say how many
FLOAT = onnx.TensorProto.FLOAT
OLDEST = 7  # opset that ONNX Runtime runs
WEIGHTED = ("Conv", "Gemm", "MatMul")


def load(path: Path) -> onnx.ModelProto:
    """Read a file and its external data.

    Raises:
        ValueError: where it is none.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"is no valid ONNX file ({type(error).__name__}: {error})") from None
    version = next((each.version for each in model.opset_import if not each.domain), OLDEST)
    if version < OLDEST:
        raise ValueError(
            f"is of opset {version}; {OLDEST} and later are read: use onnx.version_converter"
        )
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def made(model: onnx.ModelProto, image: tuple[int, ...]) -> Made:
    """Return a file for images (C, H, W) as ONNX Runtime has it."""
    return Made(
        partial(operations, model, image),
        partial(run, model),
        partial(randomized.file, model),
    )


def operations(model: onnx.ModelProto, image: tuple[int, ...]) -> Operations:
    """Return the operations of a file for images (C, H, W).

    Raises:
        ValueError: where it has an operator that is not read, or is for other images.
    """
    initializers = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in initializers]
    outputs = list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"has {len(inputs)} inputs and {len(outputs)} outputs; it must take images and give "
            "logits"
        )
    source = inputs[0].name
    nodes, constants, shapes = simplified(model, source, _input_shape(inputs[0], image))
    kept = _needed(nodes, constants, outputs[0].name)
    if source not in {name for node in kept for name in node.input}:
        raise ValueError("its output does not come from its input; give logits of images")
    parameters = Parameters()
    steps = [
        step for node in kept for step in _step(node, constants, shapes, parameters)
    ]  # fmt: skip
    return Operations(source, outputs[0].name, tuple(steps))


def _input_shape(value: onnx.ValueInfoProto, image: tuple[int, ...]) -> list[int]:
    """Return (N, C, H, W) of what a file reads, which must be our images."""
    kind = value.type.tensor_type
    if kind.elem_type != FLOAT:
        name = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise ValueError(f"input {value.name} is {name}; it must be FLOAT")
    dims = [each.dim_value for each in kind.shape.dim]  # 0 where it has a name
    if len(dims) != 4 or any(
        dim not in (0, side) for dim, side in zip(dims[1:], image, strict=True)
    ):
        shape = tuple(dim or "?" for dim in dims)
        raise ValueError(
            f"input {value.name} is {shape}; images are (N, {', '.join(map(str, image))}): change "
            "data.size and data.channels, or export with channels first (NCHW)"
        )
    return [dims[0] or BATCH, *image]


def _needed(nodes: list[onnx.NodeProto], constants: Constants, output: str) -> list[onnx.NodeProto]:
    """Return the nodes that the output needs."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            inputs = node.input if node.op_type in SEVERAL else node.input[:1]
            needed |= {name for name in inputs if name and name not in constants}
            kept.append(node)
    return kept[::-1]


def _step(
    node: onnx.NodeProto, constants: Constants, shapes: Shapes, parameters: Parameters
) -> list[Operation]:
    name = node.name or node.output[0]
    if node.domain not in STANDARD or node.op_type not in OPERATORS:
        refuse_operator(name, node.op_type)
    # Exporters store equal constants once, as biases, statistics and weights of zeros may be.
    if node.op_type in WEIGHTED:
        arrays = {each: constants.get(each, 0) for each in node.input[1:]}
        weights = [each for each, array in arrays.items() if np.ndim(array) >= 2 and np.any(array)]
        parameters.take(map(constants.origin, weights), name)
    made = OPERATORS[node.op_type](Node(node, name, constants, shapes))
    return made if isinstance(made, list) else [made]


def run(model: onnx.ModelProto, x: Tensor) -> Tensor:
    """Return what ONNX Runtime makes of images (N, C, H, W)."""
    import onnxruntime  # noqa: PLC0415 (takes time)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    batch = source.shape[0] if isinstance(source.shape[0], int) else len(x)
    batches = torch.split(x.repeat(batch, 1, 1, 1), batch)  # whole ones; ours come first
    outputs = [session.run(None, {source.name: each.numpy()})[0] for each in batches]
    return torch.from_numpy(np.concatenate(outputs))[: len(x)]
