"""Throughput of the engines, beside ONNX Runtime and PyTorch, in one process on the same images.

Every runtime takes its turn in each round, so that a busy moment hits all of them; a ratio is of
medians. The float and the ONNX networks have their batch norms folded, as ours has. The networks
are the pipeline's own, and untrained ones of a name, whose speed is that of trained ones.

    inv bench engine [-- --threads 2 --rounds 9 --networks pipeline,resnet8]
"""

from __future__ import annotations

import argparse
import json
import math
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

from powtwo.calibration.exponents import calibrate  # noqa: E402
from powtwo.conversion.to_integer import convert  # noqa: E402
from powtwo.core import graph  # noqa: E402
from powtwo.core.windows import average_bits, four, pair  # noqa: E402
from powtwo.dataset.normalization import Normalization  # noqa: E402
from powtwo.engine.base import BATCH  # noqa: E402
from powtwo.engine.floats import Float  # noqa: E402
from powtwo.engine.int8 import Int8  # noqa: E402
from powtwo.integer.network import IntegerNetwork  # noqa: E402
from powtwo.network.checkpoint import Checkpoint  # noqa: E402
from powtwo.network.folded import FoldedLayer, logits  # noqa: E402
from powtwo.network.folding import fold  # noqa: E402
from powtwo.network.graph import GraphArchitecture  # noqa: E402
from powtwo.network.models import MODELS  # noqa: E402
from powtwo.sidecar import schema  # noqa: E402
from powtwo.sidecar.one_line import one_line_errors  # noqa: E402

IMAGE, CLASSES = (3, 32, 32), 10  # of networks that have a name
PIPELINE = "pipeline"  # the network that the stages made
Runner = Callable[[], object]  # runs one batch


def main() -> None:
    options = _options()
    with one_line_errors("engine"):
        run(options)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    print(f"batch {BATCH}, {options.threads} threads, {platform.machine()}, torch "
          f"{torch.__version__}, onnxruntime {ort.__version__}")  # fmt: skip
    ratios = {}
    for name in options.networks.split(","):
        network, layers = (
            the_pipelines(options.scheme) if name == PIPELINE else named(name, options)
        )
        pixels = torch.randint(0, 256, (BATCH, *network.input.shape), dtype=torch.uint8)
        runners = make_runners(network, layers, pixels, options.threads)
        with torch.inference_mode():
            speeds = measure(runners, options.rounds)
        ratios[name] = report(name, speeds)
    print(json.dumps(ratios))


def the_pipelines(scheme: str) -> tuple[IntegerNetwork, list[FoldedLayer]]:
    """Return the network of a scheme, and the float one, as the stages wrote them."""
    network = IntegerNetwork.load(ROOT / f"models/integer/{scheme}.safetensors")
    return network, fold(Checkpoint.load(ROOT / "models/float.safetensors").network())


def named(name: str, options: argparse.Namespace) -> tuple[IntegerNetwork, list[FoldedLayer]]:
    """Return a network of a name, untrained, and the same folded."""
    architecture = GraphArchitecture(MODELS[name](IMAGE, CLASSES))
    checkpoint = Checkpoint(
        architecture, Normalization("dyadic"), architecture.build().state_dict()
    )
    images = torch.randint(0, 256, (64, *IMAGE), dtype=torch.uint8)
    scheme = schema.load(ROOT / "params.yaml").schemes[options.scheme]
    classes = [str(index) for index in range(CLASSES)]
    calibrated = calibrate(checkpoint, classes, images, scheme, len(images))
    return convert(calibrated, options.scheme, scheme).network, fold(checkpoint.network())


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


def report(network: str, speeds: dict[str, float]) -> dict[str, float]:
    """Print a table for people, and return the ratios."""
    for name, speed in speeds.items():
        print(f"{network:10} {name:26} {speed:8,.0f} images/s")
    pairs = {
        "int8_vs_ort_int8": ("powtwo int8", "onnxruntime int8"),
        "int8_vs_ort_fp32": ("powtwo int8", "onnxruntime fp32"),
        "int8_vs_torch_fp32": ("powtwo int8", "torch fp32 NCHW"),
        "float_vs_torch_fp32_channels_last": ("powtwo float", "torch fp32 channels-last"),
    }
    return {key: round(speeds[a] / speeds[b], 3) for key, (a, b) in pairs.items()}


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
    onnx.save(_onnx_model(layers, x.shape[1:]), exact)
    quantize_static(
        exact, quantized, _Images(x), quant_format=QuantFormat.QOperator,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return exact.read_bytes(), quantized.read_bytes()


def _onnx_model(layers: Sequence[FoldedLayer], image: Sequence[int]) -> onnx.ModelProto:
    nodes, constants, names = [], [], {graph.IMAGE: "x"}
    for index, (layer, sources) in enumerate(zip(layers, graph.sources(layers), strict=True)):
        inputs, name = [names[source] for source in sources], f"y{index}"
        if layer.weight is not None and layer.bias is not None:
            for part, tensor in (("w", layer.weight), ("b", layer.bias)):
                constants.append(numpy_helper.from_array(tensor.numpy(), f"{part}{index}"))
                inputs.append(f"{part}{index}")
        nodes.append(_onnx_node(layer, inputs, name))
        if layer.relu:
            limits = [] if layer.maximum is None else [f"low{index}", f"high{index}"]
            for limit, value in zip(limits, (0.0, layer.maximum), strict=False):
                constants.append(numpy_helper.from_array(np.float32(value), limit))
            nodes.append(
                helper.make_node("Clip" if limits else "Relu", [name, *limits], [f"r{index}"])
            )
            name = f"r{index}"
        names[index] = name
    value = helper.make_tensor_value_info
    float_graph = helper.make_graph(
        nodes, "float",
        [value("x", onnx.TensorProto.FLOAT, ["N", *image])],
        [value(name, onnx.TensorProto.FLOAT, ["N", None])], constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 19)]
    return helper.make_model(float_graph, opset_imports=opsets, ir_version=10)


def _onnx_node(layer: FoldedLayer, inputs: list[str], output: str) -> onnx.NodeProto:
    if layer.kind in ("flatten", "linear", "add"):
        operator = {"flatten": "Flatten", "linear": "Gemm", "add": "Add"}[layer.kind]
        transposed = {"transB": 1} if layer.kind == "linear" else {}
        return helper.make_node(operator, inputs, [output], **transposed)
    window = {
        "kernel_shape": [*pair(layer.kernel or layer.weight.shape[2:])],
        "strides": [*pair(layer.stride)],
        "pads": [*four(layer.padding)],
    }
    if layer.kind == "conv2d":
        return helper.make_node("Conv", inputs, [output], group=layer.groups, **window)
    if layer.kind == "maxpool2d":
        return helper.make_node("MaxPool", inputs, [output], **window)
    if math.prod(pair(layer.kernel)) != 1 << average_bits(layer.kernel):
        raise ValueError(f"avgpool2d: kernel = {layer.kernel}: must have 2^m positions here")
    return helper.make_node("AveragePool", inputs, [output], count_include_pad=1, **window)


def _session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every runtime")
    parser.add_argument("--rounds", type=int, default=9, help="measured turns of every runtime")
    parser.add_argument("--scheme", default="lab", help="a scheme of params.yaml")
    listed = f"{PIPELINE}, {', '.join(MODELS)}; separated by commas"
    parser.add_argument("--networks", default=f"{PIPELINE},resnet8,mobilenet", help=listed)
    return parser.parse_args()


if __name__ == "__main__":
    main()
