"""The README of an export: what lies in the folder, and how to begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LAYOUT = {
    "c99": (
        "| `network.h`, `network.c` | C99, no float, no heap: `network_run(pixels, logits)` |\n"
        "| `main.c` | for a desk: images on standard input, logits on standard output |"
    ),
    "memory": (
        "| `memory/` | `$readmemh` images: a two's-complement word a line, weights OIHW |\n"
        "| `memory/golden/` | codes that go in, and what each layer gives, image by image, CHW |"
    ),
    "course": (
        "| `weight.bin` | no header; a layer's int8 weights OIHW, input channels zero-padded to "
        "a multiple of 4, then its int32 biases; little endian |\n"
        "| `input.bin` | classes, images a class, then float32 CHW images in [0, 1] |"
    ),
    "onnx": "| `network.onnx` | integers only, standard ONNX; raw uint8 pixels in |",
    "qdq": "| `network.qdq.onnx` | QuantizeLinear and DequantizeLinear; rounds half to even |",
    "qonnx": "| `network.qonnx.onnx` | Quant nodes with zero point 0, for FINN and hls4ml |",
}
BEGIN = {
    "c99": (
        "    cc -std=c99 -O3 network.c main.c -o network\n"
        "    ./network <images.bin  # raw uint8 pixels, image after image; prints logits"
    ),
    "onnx": (
        "    python -c \"import onnxruntime as o; print(o.InferenceSession('network.onnx')"
        '.get_inputs()[0])"'
    ),
}


def text(about: Mapping[str, Any], formats: Sequence[str]) -> str:
    """Return Markdown for the manifest `about` and the names of the formats in the folder."""
    shape, rounding = about["input"]["shape"], about["rounding"]
    lines = [
        f"# {about['scheme']}",
        "",
        f"An integer network: {len(about['layers'])} layers, pixels uint8 "
        f"{'×'.join(map(str, shape))} in, {len(about['classes'])} logits out. "
        f"Its shifts round `{rounding}`: {about['arithmetic']['shift']}.",
        "",
        "| file | what it is |",
        "|---|---|",
        "| `manifest.json` | every layer's shapes, exponents, shifts and zero points, what a pixel "
        "becomes, where each tensor lies, each file's sha256 |",
        "| `golden.npz` | pixels, and each layer's `output` and int32 `accumulators` |",
        *(LAYOUT[name] for name in formats),
        "",
        *_folding(rounding, formats),
        *(BEGIN[name] for name in formats if name in BEGIN),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _folding(rounding: str, formats: Sequence[str]) -> list[str]:
    """Say where biases hold the half unit of a rounding shift."""
    if rounding != "half_up" or not {"c99", "memory", "course"} & set(formats):
        return []
    return [
        "Biases in C, `memory/` and `weight.bin` hold the 2^(n−1) that rounding adds, so a plain "
        "floor shift follows. Accumulators in `golden.npz` do not.",
        "",
    ]
