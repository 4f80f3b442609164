"""Throughput of the engines, beside ONNX Runtime and PyTorch, in one process on the same images.

Every runtime takes its turn in each round, so that a busy moment hits all of them; a ratio is of
medians. The float and the ONNX networks have their batch norms folded, as ours has.

    inv bench engine [-- --threads 2 --rounds 9]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
import torch  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from powtwo.engine.base import BATCH  # noqa: E402
from powtwo.engine.floats import Float  # noqa: E402
from powtwo.engine.int8 import Int8  # noqa: E402
from powtwo.integer.network import IntegerNetwork  # noqa: E402
from powtwo.network.checkpoint import Checkpoint  # noqa: E402
from powtwo.network.folded import FoldedLayer, fold, logits  # noqa: E402
from powtwo.sidecar.one_line import one_line_errors  # noqa: E402

Runner = Callable[[], object]  # runs one batch


def main() -> None:
    options = _options()
    with one_line_errors("engine"):
        run(options)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    network = IntegerNetwork.load(ROOT / f"models/integer/{options.scheme}.safetensors")
    layers = fold(Checkpoint.load(ROOT / "models/float.safetensors").network())
    pixels = torch.randint(0, 256, (BATCH, *network.input.shape), dtype=torch.uint8)
    runners = make_runners(network, layers, pixels, options.threads)
    with torch.inference_mode():
        speeds = measure(runners, options.rounds)
    report(speeds, options.threads)


def make_runners(
    network: IntegerNetwork, layers: Sequence[FoldedLayer], pixels: torch.Tensor, threads: int
) -> dict[str, Runner]:
    """Prepare every runtime for one batch; each starts from what its user would hold."""
    x = network.input.normalization(pixels)
    plain = [_as_float32(layer) for layer in layers]
    last = [_as_float32(layer, torch.channels_last) for layer in layers]
    x_last = x.contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        exact, quantized = _onnx_files(Path(folder), plain, x)
        fp32, int8 = (_session(path, threads) for path in (exact, quantized))
    fast, floats = Int8(network), Float(network)
    inputs = {"x": x.numpy()}
    return {
        "powtwo int8": lambda: fast.logits(pixels),
        "powtwo float": lambda: floats.logits(pixels),
        "onnxruntime int8": lambda: int8.run(None, inputs),
        "onnxruntime fp32": lambda: fp32.run(None, inputs),
        "torch fp32 channels-last": lambda: logits(last, x_last),
        "torch fp32 NCHW": lambda: logits(plain, x),
    }


def measure(runners: dict[str, Runner], rounds: int) -> dict[str, float]:
    """Return the median images a second of each runtime over interleaved rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(rounds + 2):  # the first two warm caches and kernels up
        for name, run in runners.items():
            started = time.perf_counter()
            run()
            if turn > 1:
                seconds[name].append(time.perf_counter() - started)
    return {name: BATCH / statistics.median(taken) for name, taken in seconds.items()}


def report(speeds: dict[str, float], threads: int) -> None:
    """Print a table for people, and the ratios as JSON on the last line."""
    print(f"batch {BATCH}, {threads} threads, {platform.machine()}, torch {torch.__version__}, "
          f"onnxruntime {ort.__version__}")  # fmt: skip
    for name, speed in speeds.items():
        print(f"{name:26} {speed:8,.0f} images/s")
    pairs = {
        "int8_vs_ort_int8": ("powtwo int8", "onnxruntime int8"),
        "int8_vs_ort_fp32": ("powtwo int8", "onnxruntime fp32"),
        "int8_vs_torch_fp32": ("powtwo int8", "torch fp32 NCHW"),
        "float_vs_torch_fp32_channels_last": ("powtwo float", "torch fp32 channels-last"),
    }
    print(json.dumps({key: round(speeds[a] / speeds[b], 3) for key, (a, b) in pairs.items()}))


def _as_float32(
    layer: FoldedLayer, memory_format: torch.memory_format = torch.contiguous_format
) -> FoldedLayer:
    if layer.weight is None or layer.bias is None:
        return layer
    weight = layer.weight.float()
    if layer.kind == "conv2d":
        weight = weight.contiguous(memory_format=memory_format)
    return replace(layer, weight=weight, bias=layer.bias.float())


class _Images(CalibrationDataReader):
    """The batches that ONNX Runtime's own calibration looks at."""

    def __init__(self, x: torch.Tensor) -> None:
        self.batches = iter([{"x": part.numpy()} for part in x.split(64)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def _onnx_files(
    folder: Path, layers: Sequence[FoldedLayer], x: torch.Tensor
) -> tuple[bytes, bytes]:
    """Return the float network as ONNX, and as ONNX Runtime quantizes it."""
    exact, quantized = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(_onnx_model(layers), exact)
    quantize_static(
        exact, quantized, _Images(x), quant_format=QuantFormat.QOperator,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return exact.read_bytes(), quantized.read_bytes()


def _onnx_model(layers: Sequence[FoldedLayer]) -> onnx.ModelProto:
    nodes, constants, name = [], [], "x"
    for index, layer in enumerate(layers):
        inputs, name = [name], f"y{index}"
        if layer.weight is not None and layer.bias is not None:
            for part, tensor in (("w", layer.weight), ("b", layer.bias)):
                constants.append(numpy_helper.from_array(tensor.numpy(), f"{part}{index}"))
                inputs.append(f"{part}{index}")
        nodes.append(_onnx_node(layer, inputs, name))
        if layer.relu:
            nodes.append(helper.make_node("Relu", [name], [f"r{index}"]))
            name = f"r{index}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "float",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3, 32, 32])],
        [value(name, onnx.TensorProto.FLOAT, ["N", None])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def _onnx_node(layer: FoldedLayer, inputs: list[str], output: str) -> onnx.NodeProto:
    window = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2}
    operator, attributes = {
        "conv2d": ("Conv", window | {"pads": [layer.padding] * 4}),
        "maxpool2d": ("MaxPool", window),
        "flatten": ("Flatten", {}),
        "linear": ("Gemm", {"transB": 1}),
    }[layer.kind]
    return helper.make_node(operator, inputs, [output], **attributes)


def _session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every runtime")
    parser.add_argument("--rounds", type=int, default=9, help="measured turns of every runtime")
    parser.add_argument("--scheme", default="lab", help="a scheme of models/integer/")
    return parser.parse_args()


if __name__ == "__main__":
    main()
