"""The ONNX files of an export, each on the runtimes that read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator

from powtwo.dataset.images import Images
from powtwo.integer.fixedpoint import dequantize
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.tools.exports.exported import (
    DifferenceError,
    Export,
    SkippedError,
    logits,
    require_equal,
)

BATCH = 250  # images at a time
REFERENCE_IMAGES = 2  # onnx's own evaluator takes a second for each


def check_integer(export: Export) -> str:
    """Run network.onnx on ONNX Runtime, and a couple of images on onnx's reference."""
    model = _load(export.folder / "network.onnx")
    first = export.pixels[:REFERENCE_IMAGES]
    by_reference: Any = ReferenceEvaluator(model).run(None, {"pixels": first})
    expected = export.logits[: len(first)]
    require_equal(np.asarray(by_reference[0]), expected, "logits of onnx's reference")
    require_equal(_run(model, export.pixels), export.logits, "logits of ONNX Runtime")
    return f"{len(export.pixels)} images equal, {len(first)} on onnx's reference"


def check_qdq(export: Export) -> str:
    """Run network.qdq.onnx on ONNX Runtime; it rounds half to even, whatever the scheme does."""
    model = _load(export.folder / "network.qdq.onnx")
    metadata = {item.key: item.value for item in model.metadata_props}
    network = replace(export.network, rounding=Rounding.HALF_EVEN)
    values, expected = _run(model, export.pixels), _values(network, export.pixels)
    if not json.loads(metadata["float32_exact"]) and not np.array_equal(values, expected):
        raise SkippedError("sums may pass 2^24, where this float32 runtime is not exact")
    require_equal(values, expected, "logits of ONNX Runtime")
    rounding = "" if export.network.rounding is Rounding.HALF_EVEN else ", rounded half to even"
    return f"{len(export.pixels)} images equal{rounding}"


def check_qonnx(export: Export) -> str:
    """Run network.qonnx.onnx on the qonnx package, image by image."""
    try:
        from qonnx.core.modelwrapper import ModelWrapper  # noqa: PLC0415
        from qonnx.core.onnx_exec import execute_onnx  # noqa: PLC0415
        from qonnx.util.cleanup import cleanup_model  # noqa: PLC0415
    except ImportError:
        raise SkippedError("the package qonnx is not installed") from None
    file = str(export.folder / "network.qonnx.onnx")
    _load(export.folder / "network.qonnx.onnx")
    model = cleanup_model(ModelWrapper(file))  # as FINN and hls4ml begin
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    network, pixels = export.network, export.vectors["pixels"]
    codes, qparams = network.input.encode(torch.from_numpy(pixels)), network.input.codes
    inputs = dequantize(codes, qparams.exponent, qparams.zero_point).float().numpy()
    for image, expected in zip(inputs, _values(network, pixels), strict=True):
        outputs = execute_onnx(model, {source: image[None]})
        require_equal(outputs[sink], expected[None], "logits of qonnx")
    return f"{len(pixels)} images equal"


def _load(path: Path) -> onnx.ModelProto:
    """Read and check a model.

    Raises:
        DifferenceError: where it is damaged; the errors of the libraries have no common base.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except OSError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DifferenceError(f"no valid ONNX model ({reason}); export again") from None
    return model


def _run(model: onnx.ModelProto, pixels: Images) -> npt.NDArray[Any]:
    options = onnxruntime.SessionOptions()
    # Kernels for x86 without VNNI would saturate at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batches = np.split(pixels, range(BATCH, len(pixels), BATCH))
    return np.concatenate([session.run(None, {"pixels": batch})[0] for batch in batches])


def _values(network: IntegerNetwork, pixels: Images) -> npt.NDArray[np.float64]:
    """Return the values that the network's logits stand for, (N, classes)."""
    integers = torch.from_numpy(logits(network, pixels))
    last = network.last_sums
    if last.output is None:
        return dequantize(integers, last.accumulator_exponent, 0).numpy()
    return dequantize(integers, last.output.exponent, last.output.zero_point).numpy()
