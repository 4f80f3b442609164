"""Float ONNX files of others: read to layers that equal ONNX Runtime, or refused in one line."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import CLASSES, IMAGE, RandomModule
from onnx import helper, numpy_helper
from torch import nn

from powtwo.network.architecture import of_model
from powtwo.network.params import Model
from powtwo.network.reading.onnx_operators import OPERATORS
from powtwo.network.reading.read import ReadArchitecture

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(path: str = "net.onnx", classes: int = CLASSES) -> ReadArchitecture:
    architecture = of_model(Model(onnx=path), IMAGE, classes)
    assert isinstance(architecture, ReadArchitecture)
    return architecture


def check_equal(path: str = "net.onnx") -> ReadArchitecture:
    architecture = read(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    count = source.shape[0] if isinstance(source.shape[0], int) else 3
    x = np.random.default_rng(1).normal(size=(count, *IMAGE)).astype(np.float32)
    with torch.inference_mode():
        ours = architecture.build().eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, session.run(None, {source.name: x})[0], rtol=1e-4, atol=1e-4)
    return architecture


def kinds(architecture: ReadArchitecture) -> str:
    return " ".join(layer.kind for layer in architecture.specs.layers)


def export(module: nn.Module, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and in use
        x = (torch.zeros(1, *IMAGE),)
        torch.onnx.export(module.eval(), x, "net.onnx", dynamo=False, input_names=["x"], **options)


OPTIONS = {
    "fixed batch": {},
    "any batch": {"dynamic_axes": {"x": {0: "batch"}}},
    "batch norms kept": {
        "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False,
    },
    "opset 9": {"opset_version": 9},
}  # fmt: skip


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 8), st.sampled_from(sorted(OPTIONS)))
def test_random_networks_of_pytorchs_exporter(seed: int, steps: int, name: str) -> None:
    export(RandomModule(seed, steps), **OPTIONS[name])
    check_equal()


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def write(  # noqa: PLR0917
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    batch: int | str = "n",
    opset: int = 21,
    kind: int = onnx.TensorProto.FLOAT,
    image: tuple[int | str, ...] = IMAGE,
) -> None:
    """Write a file whose input is x and whose output is y."""
    source = helper.make_tensor_value_info("x", kind, [batch, *image])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, CLASSES])
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", [source], [result], stored)
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "net.onnx")


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    names, name = [name.replace("_", "") for name in inputs.split()], f"the {operator}"
    return helper.make_node(operator, names, [output], **{"name": name} | attributes)


def conv(output: str = "a", **attributes: Any) -> onnx.NodeProto:
    return node("Conv", "x w b", output, **attributes)


CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}
EVEN = {"w": weights(4, 3, 2, 4)}  # one side gets a pixel more
END = [node("GlobalAveragePool", "z", "p"), node("Flatten", "p", "y")]  # of four channels
FILES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], str]] = {
    "same, upper": ([conv("z", auto_pad="SAME_UPPER", strides=[2, 1]), *END], CONV | EVEN, ""),
    "same, lower": ([conv("z", auto_pad="SAME_LOWER", strides=[2, 1]), *END], CONV | EVEN, ""),
    "unequal pads": ([conv("z", pads=[0, 1, 2, 0]), *END], CONV, ""),
    "clip": ([conv(), node("Clip", "a lo hi", "z"), *END],
             CONV | {"lo": np.float32(0), "hi": np.float32(6)}, "relu6"),
    "relu by clip": ([conv(), node("Clip", "a lo", "z"), *END], CONV | {"lo": np.float32(0)},
                     "relu"),
    "relu by a maximum": ([conv(), node("Max", "lo a", "z"), *END], CONV | {"lo": np.float32(0)},
                          "relu"),
    "pad": ([node("Pad", "x pads", "q"), node("Conv", "q w b", "z", strides=[2, 2]), *END],
            CONV | {"pads": np.array([0, 0, 0, 1, 0, 0, 1, 2])}, ""),
    "pad of axes": ([node("Pad", "x pads _ axes", "q"), node("Conv", "q w", "z"), *END],
                    CONV | {"pads": np.array([1, 0]), "axes": np.array([3])}, ""),
    "ceil": ([conv(), node("MaxPool", "a", "z", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
              *END], CONV, "maxpool2d"),
    "same average": ([conv(), node("AveragePool", "a", "z", kernel_shape=[3, 2], strides=[2, 3],
                                   auto_pad="SAME_UPPER", count_include_pad=1), *END], CONV,
                     "avgpool2d"),
    "same maximum": ([conv(), node("MaxPool", "a", "z", kernel_shape=[3, 3], strides=[2, 2],
                                   auto_pad="SAME_UPPER"), *END], CONV, "maxpool2d"),
    "average": ([conv(), node("AveragePool", "a", "z", kernel_shape=[2, 3], pads=[1, 1, 0, 1],
                              count_include_pad=1), *END], CONV, "avgpool2d"),
    "global maximum": ([conv(), node("GlobalMaxPool", "a", "z"), node("Flatten", "z", "f"),
                        node("MatMul", "f v", "y")], CONV | {"v": weights(4, 4)}, "maxpool2d"),
    "batch norm": ([conv(), node("BatchNormalization", "a g h m v", "z", epsilon=1e-3), *END],
                   CONV | {"g": weights(4), "h": weights(4), "m": weights(4),
                           "v": abs(weights(4))}, "batch_norm"),
    "identity, dropout": ([conv(), node("Identity", "a", "c"), node("Dropout", "c", "z"), *END],
                          CONV, ""),
    "groups": ([node("Conv", "x w", "z", group=3), *END],
               {"w": weights(6, 1, 3, 3)[:3].repeat(2, 0)[:6]}, "linear"),
    "sum": ([conv(), node("Relu", "a", "c"), node("Sum", "a c", "z"), *END], CONV, "relu add"),
    "bias": ([node("Conv", "x w", "a"), node("Add", "c a", "z"), *END],
             CONV | {"c": weights(1, 4, 1, 1)}, ""),
    "constants": ([node("Identity", "w", "c"), node("Constant", "", "d", value_floats=[1.0] * 4),
                   node("Conv", "x c d", "z"), *END], CONV, ""),
}  # fmt: skip
FILES["groups"] = (
    [node("Conv", "x w", "z", group=3), node("GlobalAveragePool", "z", "p"),
     node("Flatten", "p", "f"), node("Gemm", "f v", "y")],
    {"w": weights(6, 1, 3, 3), "v": weights(6, 4)}, "",
)  # fmt: skip


@pytest.mark.parametrize("batch", ["n", 1, 5])
@pytest.mark.parametrize("name", FILES)
def test_operators_of_other_makers(name: str, batch: int | str) -> None:
    nodes, constants, layers = FILES[name]
    write(nodes, constants, batch)
    end = " linear" if name in ("groups", "global maximum") else ""
    average = "" if name == "global maximum" else "avgpool2d"  # of one pixel
    expected = " ".join(f"conv2d {layers} {average} flatten{end}".split())
    assert kinds(check_equal()) == expected


FLAT = [node("Conv", "x w b", "a"), node("GlobalAveragePool", "a", "p")]
FEATURES = {
    "mean": [node("ReduceMean", "a axes", "f", keepdims=0)],
    "mean, then flat": [node("ReduceMean", "a axes", "q"), node("Reshape", "q minus", "f")],
    "reshape": [node("Reshape", "p minus", "f")],
    "reshape by sizes": [
        node("Shape", "p", "s"), node("Gather", "s zero", "t"), node("Unsqueeze", "t zeros", "u"),
        node("Concat", "u ones", "q", axis=0), node("Reshape", "p q", "f"),
    ],
    "squeeze": [node("Squeeze", "p axes", "f")],
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features(name: str) -> None:
    integers = {"axes": [2, 3], "minus": [0, -1], "zero": 0, "zeros": [0], "ones": [-1]}
    constants = {name: np.array(value) for name, value in integers.items()}
    ends = [node("MatMul", "f v", "g"), node("Add", "g e", "h"), node("Softmax", "h", "y")]
    write([*FLAT, *FEATURES[name], *ends], CONV | constants | {"v": weights(4, 4), "e": weights(4)})
    architecture = read()
    assert kinds(architecture) == "conv2d avgpool2d flatten linear"
    assert architecture.notes == (
        "net.onnx: the Softmax (Softmax) is left out: logits are trained and quantized",
    )


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_factors(transposed: int) -> None:
    gemm = node("Gemm", "f v e", "y", transB=transposed, alpha=0.5, beta=2.0)
    constants = CONV | {"v": weights(4, 4), "e": weights(1, 4)}
    write([*FLAT, node("Flatten", "p", "f"), gemm], constants)
    assert kinds(check_equal()) == "conv2d avgpool2d flatten linear"


def test_external_data_is_read() -> None:
    write([conv("z"), *END], CONV)
    model = onnx.load("net.onnx")
    onnx.save(model, "big.onnx", save_as_external_data=True, size_threshold=0, location="big.bin")
    check_equal("big.onnx")
    Path("big.bin").unlink()
    with pytest.raises(ValueError, match=r"^big.onnx: .*big.bin"):
        read("big.onnx")


def one(*nodes: onnx.NodeProto, **constants: Any) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    return [conv(), *nodes, *END], CONV | constants


LAST = node("Conv", "a w b", "z", name="last")
REFUSED = {
    "transpose": (one(node("Transpose", "a", "z", perm=[0, 1, 3, 2])),
                  "the Transpose (Transpose): is not read; export the network with its channels f"),
    "activation": (one(node("Sigmoid", "a", "z")), "the Sigmoid (Sigmoid): is not read; use R"),
    "other operator": (one(node("Erf", "a", "z")), "the Erf (Erf): is not read; replace it, or le"),
    "scale": (one(node("Mul", "a b", "z"), b=np.float32(2)), "the Mul (Mul): is not read; data"),
    "dilation": (([conv("z", dilations=[2, 2]), *END], CONV), "the Conv (Conv): has dilation"),
    "cut": (one(node("Clip", "a lo", "z"), lo=np.float32(-1)), "the Clip (Clip): cuts at -1.0 and"),
    "border": (one(node("AveragePool", "a", "z", kernel_shape=[2, 2], pads=[1, 1, 0, 0])),
               "the AveragePool (AveragePool): averages over fewer pixels at the borders; count"),
    "mean": (one(node("ReduceMean", "a", "z", axes=[3])), "the ReduceMean (ReduceMean): averages"),
    "weights": (([node("Conv", "x w b", "a", pads=[1] * 4), LAST, *END],
                 CONV | {"w": weights(3, 3, 3, 3), "b": weights(3)}),
                "last: has the weights w of the Conv, and layers cannot share weights; give"),
    "concat": (one(node("Relu", "a", "c"), node("Concat", "a c", "z", axis=1)),
               "the Concat (Concat): concatenates; only convolutions can be concatenated that rea"),
    "padding": (([conv("z", pads=[3, 0, 0, 0]), *END], CONV), "must be below the kernel's"),
    "channels": (([node("Conv", "x w", "z"), *END], {"w": weights(4, 2, 3, 3)}),
                 "the Conv (Conv): reads (3, 11, 9); give it 2 channels"),
    "domain": (one(helper.make_node("Gelu", ["a"], ["z"], domain="mine")), "z (Gelu): is not"),
    "end": (([conv("y")], CONV), "the Conv (Conv): gives (4, 9, 7) at the end; flatten it to ("),
    "loop": (one(node("Constant", "", "z", value_floats=[1.0])), "does not come from its input"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_in_one_line(name: str) -> None:
    (nodes, constants), message = REFUSED[name]
    opset = 13 if name == "mean" else 21
    write(nodes, constants, opset=opset)
    if name == "domain":
        model = onnx.load("net.onnx")
        model.opset_import.append(helper.make_opsetid("mine", 1))
        onnx.save(model, "net.onnx")
    with pytest.raises(ValueError, match=rf"^net.onnx: .*{re.escape(message)}") as error:
        read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": (3, 12, 9)},
            "input x is ('?', 3, 12, 9); images are (N, 3, 11, 9): change data",
        ),
        (
            {"image": (11, 9, 3)},
            "input x is ('?', 11, 9, 3); images are (N, 3, 11, 9): change data",
        ),
        ({"image": (3, 11)}, "input x is ('?', 3, 11); images are"),
        ({"kind": onnx.TensorProto.UINT8}, "input x is UINT8; it must be FLOAT"),
    ],
)
def test_other_images_are_refused(changes: dict[str, Any], message: str) -> None:
    nodes = [node("Identity", "x", "y")]
    write(nodes, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        read()


def test_sides_may_have_names() -> None:
    write([conv("z"), *END], CONV, image=(3, "h", "w"))
    check_equal()


def test_another_number_of_classes_is_refused() -> None:
    write([conv("z"), *END], CONV)
    with pytest.raises(ValueError, match=r"net.onnx: gives 4 outputs, and the images have 9 clas"):
        read(classes=9)


def test_what_is_no_file_of_onnx_is_refused() -> None:
    Path("net.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"^net.onnx: is no ONNX file .DecodeError.; give one"):
        read()
    with pytest.raises(ValueError, match=r"^model.onnx = absent.onnx: no such file; correct it"):
        read("absent.onnx")


def test_weights_of_zeros_are_nobodys() -> None:
    first = [node("Conv", "x w b", "a", name="first"), node("Conv", "a w b", "c", name="second")]
    zeros = {"w": np.zeros((3, 3, 3, 3), np.float32), "b": weights(3), "v": weights(4, 3, 1, 1)}
    write([*first, node("Conv", "c v", "z"), *END], zeros)
    assert kinds(check_equal()) == "conv2d conv2d conv2d avgpool2d flatten"


def test_old_files_are_refused() -> None:
    write([conv("z"), *END], CONV)
    model = onnx.load("net.onnx")
    model.opset_import[0].version = 6
    onnx.save(model, "net.onnx")
    with pytest.raises(ValueError, match=r"^net.onnx: is of opset 6; 7 and later are read: use"):
        read()


def test_zeros_hide_nothing_that_is_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    last = [node("GlobalAveragePool", "z", "p"), node("Flatten", "p", "f"),
            node("MatMul", "f v", "y")]  # fmt: skip
    write([conv(), node("Relu", "a", "z"), *last], CONV | {"v": np.zeros((4, 4), np.float32)})
    check_equal()
    monkeypatch.setitem(OPERATORS, "Relu", lambda made: made("identity"))
    with pytest.raises(ValueError, match=r"^net.onnx: was misread: outputs differ by 0"):
        read()
