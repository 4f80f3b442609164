"""The ONNX files of an export, each on the runtimes that read it."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from powtwo.export.onnx import integer as onnx_integer
from powtwo.export.onnx import qdq as onnx_qdq
from powtwo.export.onnx import qonnx as onnx_qonnx
from powtwo.integer import fixedpoint
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.tools.exports.exported import BATCH, Export, logits, require_equal
from powtwo.tools.exports.programs import MissingToolError, SkippedError

REFERENCE_IMAGES = 2  # onnx's own evaluator takes a second for each


def check_integer(export: Export) -> str:
    """Run network.onnx on ONNX Runtime, and a couple of images on onnx's reference."""
    model = onnx.load(export.folder / onnx_integer.FILE)
    first = export.pixels[:REFERENCE_IMAGES]
    found: Any = ReferenceEvaluator(model).run(None, {"pixels": first})
    require_equal(np.asarray(found[0]), export.logits[: len(first)], "logits of onnx's reference")
    require_equal(_run(model, export.pixels), export.logits, "logits of ONNX Runtime")
    return f"{len(export.pixels)} images equal, {len(first)} on onnx's reference"


def check_qdq(export: Export) -> str:
    """Run network.qdq.onnx on ONNX Runtime; it rounds half to even, whatever the scheme does."""
    model = onnx.load(export.folder / onnx_qdq.FILE)
    about = {item.key: item.value for item in model.metadata_props}
    network = replace(export.network, rounding=Rounding.HALF_EVEN)
    found, expected = _run(model, export.pixels), _values(network, export.pixels)
    if not json.loads(about["float32_exact"]) and not np.array_equal(found, expected):
        raise SkippedError("sums may pass 2^24, where this float32 runtime is not exact")
    require_equal(found, expected, "logits of ONNX Runtime")
    rounding = "" if export.network.rounding == "half_even" else ", rounded half to even"
    return f"{len(export.pixels)} images equal{rounding}"


def check_qonnx(export: Export) -> str:
    """Run network.qonnx.onnx on the qonnx package, image by image."""
    wrapper = _module("qonnx.core.modelwrapper", "qonnx")
    execution = _module("qonnx.core.onnx_exec", "qonnx")
    cleanup = _module("qonnx.util.cleanup", "qonnx")  # as FINN and hls4ml begin
    file = str(export.folder / onnx_qonnx.FILE)
    model = cleanup.cleanup_model(wrapper.ModelWrapper(file))
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    pixels = export.vectors["pixels"].astype(np.uint8)
    given, network = export.network.input, export.network
    codes = given.encode(torch.from_numpy(pixels))
    values = fixedpoint.dequantize(codes, given.codes.exponent, given.codes.zero_point)
    for value, expected in zip(values.float().numpy(), _values(network, pixels), strict=True):
        found = execution.execute_onnx(model, {source: value[None]})[sink]
        require_equal(found, expected[None], "logits of qonnx")
    return f"{len(pixels)} images equal"


def _run(model: onnx.ModelProto, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    runtime = _module("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    # Kernels for x86 without VNNI would saturate at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    starts = range(0, len(pixels), BATCH)
    batches = [session.run(None, {"pixels": pixels[i : i + BATCH]})[0] for i in starts]
    return np.concatenate(batches)


def _values(network: IntegerNetwork, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the values that the network's logits stand for, (N, classes)."""
    integers = torch.from_numpy(logits(network, pixels))
    last = next(layer for layer in reversed(network.layers) if layer.has_weights)
    exponent, zero_point = last.accumulator_exponent, 0
    if last.output is not None:
        exponent, zero_point = torch.tensor(last.output.exponent), last.output.zero_point
    values: npt.NDArray[np.float64] = fixedpoint.dequantize(integers, exponent, zero_point).numpy()
    return values


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingToolError(f"the package {package} is not installed") from None
