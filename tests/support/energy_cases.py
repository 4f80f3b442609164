"""Networks, tables and files that several tests of energy use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save_file

from powtwo.core import files
from powtwo.energy.memory import load_memory_table
from powtwo.energy.metrics import load_prices
from powtwo.energy.operation_prices import load_price_table
from powtwo.integer.shapes import LayerShape
from powtwo.tools.docs.energy_page import CONFIGURED, NETWORKS, SHIFT, lab_layers

LAB, QTOOLS = load_price_table("lab"), load_price_table("qtools")
HOROWITZ = load_memory_table("horowitz")
PRICES = load_prices(CONFIGURED)

LAYERS = lab_layers()
NARROW = NETWORKS["4-bit weights, 8-bit codes"]  # `lab` cannot price it
SHIFTS = NETWORKS["the same, z = 0, int32 logits"]
FLIPPED = lab_layers(bits=4, weights=SHIFT)  # all but msb_flip need int4_add, by EXACT no price
EXACT = LAB.model_copy(update={"next_wider": []})  # takes no adder for a narrower one

some_layers = st.lists(
    st.builds(
        LayerShape,
        index=st.integers(0, 20),
        kind=st.just("conv2d"),
        input_shape=st.tuples(*[st.integers(1, 64)] * 3),
        output_shape=st.tuples(*[st.integers(1, 64)] * 3),
        fan_in=st.integers(1, 5000),
        weight_bits=st.just(8),
        input_bits=st.just(8),
        input_zero_point=st.sampled_from([0, 128]),
        output_bits=st.sampled_from([8, None]),
        output_zero_point=st.sampled_from([0, 128]),
    ),
    min_size=1,
    max_size=5,
)
PIXELS = {"shape": [3, 8, 8], "exponent": -7, "zero_point": 128, "bits": 8, "normalize": "dyadic"}
CODES = {"weight_bits": 8, "weight_exponent": -3, "input_exponent": -7, "input_bits": 8,
         "input_zero_point": 128, "relu": False}  # fmt: skip
OUTPUT = {"output": "codes", "output_exponent": -7, "output_bits": 8, "output_zero_point": 128,
          "shift": 3}  # fmt: skip


def write_zeros(path: Path, layers: Sequence[LayerShape], images: int = 4) -> None:
    """Write plots/zeros: of all products a quarter of one image's have a zero operand."""
    files.write_csv(
        path,
        ("layer", "layer_kind", "images", "products", "zero_products"),
        [(x.index, x.kind, images, images * x.macs, x.macs // 4) for x in layers],
    )


def write_integer_file(
    path: Path, weights: dict[str, object] | None = None, **changes: object
) -> None:
    """Write conv 3→4 (stride 2) → pool → flatten → linear 16→5, on 3×8×8, by the contract.

    `weights` are keys of both weighted layers, `changes` keys of the file's metadata.
    """
    codes = CODES | (weights or {})
    network = {
        "format": 1,
        "scheme": "lab",
        "rounding": "floor",
        "classes": list("abcde"),
        "input": PIXELS,
        "layers": [
            {"kind": "conv2d", "kernel": 3, "stride": 2, "padding": 1} | OUTPUT | codes,
            {"kind": "maxpool2d", "kernel": 2, "stride": 2},
            {"kind": "flatten"},
            {"kind": "linear", "output": "int32"} | codes,
        ],
    } | changes
    tensors = {
        "layers.0.weight": np.zeros((4, 3, 3, 3), np.int8),
        "layers.0.bias": np.zeros(4, np.int32),
        "layers.3.weight": np.zeros((5, 16), np.int8),
        "layers.3.bias": np.zeros(5, np.int32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"powtwo": json.dumps(network)})
