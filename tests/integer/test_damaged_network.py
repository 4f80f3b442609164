"""A network's file of which one thing is wrong: refused in a line that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import edited, join, replaced, split
from networks import random_network
from refused_network import refused
from safetensors.numpy import load

OTHER = "not an integer network: "
Values = dict[str, Any]


def layer(index: int, **changes: Any) -> Callable[[Values], None]:
    return lambda values: values["layers"][index].update(changes)


def pixels(**changes: Any) -> Callable[[Values], None]:
    return lambda values: values["input"].update(changes)


def keys(**changes: Any) -> Callable[[Values], None]:
    return lambda values: values.update(changes)


def coarser(values: Values) -> None:
    first = values["layers"][0]
    first["output_exponent"] += 2
    first["shift"] += 2


STANDARD = {"normalize": "standard", "mean": [0, 0, 0], "std": [1, 1, 1]}
EDITS = {
    "scheme climbs": (keys(scheme="../x"), "scheme = '../x': string should match pattern"),
    "scheme null": (keys(scheme=None), "scheme = None: must be a valid string"),
    "rounding": (keys(rounding="up"), "rounding = 'up': must be 'floor', 'half_up' or"),
    "format": (keys(format=True), "format = True: must be 1"),
    "next format": (keys(format=2), "format = 2: must be 1"),
    "unknown key": (keys(extra=1), "extra = 1: unknown key"),
    "classes numbers": (keys(classes=[1, 2]), "classes 0 = 1: must be a valid string"),
    "classes twice": (keys(classes=list("aabcd")), "classes = ['a']: must differ"),
    "class too many": (keys(classes=list("abcdef")), "layer 5: output shape = (5,): must be (6,)"),
    "layers null": (keys(layers=None), "layers = None: must be a valid list"),
    "layers empty": (keys(layers=[]), "layers = []: list should have at least 1 item"),
    "layers many": (keys(layers=[{"kind": "flatten"}] * 1001), "layers = [{"),
    "last layer gone": (lambda v: v["layers"].pop(), "tensor layers.5.bias: of no layer"),
    "layers turned": (lambda v: v["layers"].reverse(), "tensor layers.1.bias: missing"),
    "chain": (coarser, "layer 2: input_exponent = -5: must be -3, which is what the layers before"),
    "shift": (layer(0, shift=31), "layer 0: shift = 31: its exponents give"),
    "shift list": (layer(0, shift=[3] * 8), "tensor layers.0.shift: missing"),
    "shift gone": (layer(0, shift=None), "layer 0: shift = None: must be there"),
    "zero point 300": (layer(0, input_zero_point=300), "layer 0: input_zero_point = 300: must"),
    "zero point other": (
        layer(2, input_zero_point=7),
        "layer 2: input_zero_point = 7: must be",
    ),
    "zero point high": (
        layer(0, output_bits=3),
        "layer 0: output_zero_point = 128: must be 0",
    ),
    "output bits": (layer(0, output_bits=10**12), "layer 0: output_bits = 1000000000000: must be"),
    "input bits": (pixels(bits=20), "input bits = 20: must be less than or equal to 8"),
    "zero point": (pixels(bits=4), "input zero_point = 128: must be 0 to 15"),
    "exponent": (pixels(exponent=10**9), "input exponent = 1000000000: must be less than"),
    "boolean": (pixels(bits=True), "input bits = True: must be a valid integer"),
    "float": (layer(0, stride=1.0), "layer 0: stride = 1.0: must be a valid integer"),
    "weight bits": (layer(0, weight_bits=3), "layer 0: weight = 127: must be within ±3, as"),
    "weight kind": (
        layer(0, weight_kind="x"),
        "layer 0: weight_kind = 'x': must be 'power",
    ),
    "no powers": (
        layer(0, weight_kind="power_of_two", weight_code_bits=4),
        "layer 0: weight = 127: must be within ±64, as weight_code_bits = 4",
    ),
    "code bits alone": (layer(0, weight_code_bits=4), "layer 0: weight_code_bits = 4: must stand"),
    "kernel": (layer(0, kernel=5), "layer 0: kernel = 5: must be (3, 3), the sides of the weight"),
    "stride 0": (layer(0, stride=0), "layer 0: stride = 0: must be greater than or equal to 1"),
    "stride 2": (layer(0, stride=2), "layer 4: weight (12, 96) does not fit an input of (24,)"),
    "padding": (layer(0, padding=3), "layer 0: padding = 3: must be below the kernel's 3"),
    "padding large": (layer(0, padding=10**6), "layer 0: padding = 1000000: must be less than"),
    "pool": (layer(1, kernel=9), "layer 1: kernel = 9: larger than its input"),
    "pool of features": (
        lambda v: v["layers"].append({"kind": "maxpool2d", "kernel": 1, "stride": 1}),
        "layer 6: kind = 'maxpool2d': must not come after int32",
    ),
    "relu": (layer(0, relu="no"), "layer 0: relu = 'no': must be a valid boolean"),
    "kind": (layer(0, kind="swish"), "layer 0: kind = 'swish': must be one of 'conv2d', 'linear',"),
    "kind list": (layer(0, kind=[]), "layer 0: kind = "),
    "kind gone": (lambda v: v["layers"][0].pop("kind"), "layer 0: kind: missing"),
    "linear": (layer(0, kind="linear"), "layer 0: kernel = 3: unknown key"),
    "key gone": (lambda v: v["layers"][0].pop("relu"), "layer 0: relu: missing"),
    "int32 first": (layer(0, output="int32"), "layer 0: output_exponent = -5: must be absent"),
    "channels of int32": (
        layer(5, weight_exponent=[-3] * 5),
        "layer 5: weight_exponent = [-3, -3, -3, -3, -3]: must be one for all channels",
    ),
    "gray": (pixels(shape=[1, 8, 8]), "layer 0: weight (8, 3, 3, 3) does not fit an input of (1,"),
    "flat": (pixels(shape=[3, 64]), "input shape = [3, 64]: list should have at least 3 items"),
    "std 0": (
        pixels(**STANDARD | {"std": [0, 1, 1]}),
        "input std = [0.0, 1.0, 1.0]: must be",
    ),
    "one mean": (pixels(**STANDARD | {"mean": [0]}), "input mean = [0.0]: must be 3 numbers"),
    "no mean": (pixels(normalize="standard"), "input mean = None: must be 3 numbers"),
    "mean of dyadic": (pixels(mean=[0, 0, 0]), "input mean = [0.0, 0.0, 0.0]: must be absent"),
    "nan": (
        pixels(**STANDARD | {"mean": [float("nan")] * 3}),
        f"{OTHER}NaN: every number must be finite",
    ),
    "infinity": (
        pixels(exponent=float("inf")),
        f"{OTHER}Infinity: every number must be finite",
    ),
    "digits": (pixels(exponent=10**4000), "input exponent = 1000"),
    "other class": (keys(classes=list("abcdx")), "sha256 = '"),
    "other digest": (keys(sha256="0" * 64), "sha256 = '0000"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_in_one_line(name: str, path: Path) -> None:
    edit, reason = EDITS[name]
    path.write_bytes(edited(path.read_bytes(), edit))
    refused(path, reason)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("0.weight", np.zeros((8, 3, 3, 3), np.int32), "layer 0: weight: type = 'int32': must be"),
        ("0.weight", np.zeros((8, 27), np.int8), "layer 0: weight: shape = (8, 27): must have 4"),
        (
            "0.weight",
            np.zeros((0, 3, 3, 3), np.int8),
            "layer 0: weight: shape = (0, 3, 3, 3)",
        ),
        ("0.weight", np.int8(1), "layer 0: weight: shape = (): must have 4"),
        ("0.weight", np.full((8, 3, 3, 3), -128, np.int8), "layer 0: weight = 128: must be within"),
        ("0.bias", np.zeros(8, np.float32), "layer 0: bias: type = 'float32': must be int32"),
        ("0.bias", np.zeros(7, np.int32), "layer 0: bias: shape = (7,): must be (8,)"),
        ("0.bias", np.full(8, -(2**31), np.int32), "layer 0: accumulators = "),
        ("5.bias", np.full(5, 2**31 - 1, np.int32), "layer 5: accumulators = "),
        ("1.weight", np.zeros(1, np.int8), "tensor layers.1.weight: of no layer"),
        ("0.shift", np.zeros(8, np.int32), "tensor layers.0.shift: of no layer"),
        ("0.bias", None, "tensor layers.0.bias: missing"),
        (
            "0.bias",
            np.zeros(8, np.uint8),
            f"{OTHER}tensor layers.0.bias: type = 'U8': must",
        ),
    ],
)
def test_a_tensor_that_does_not_fit(
    name: str, value: np.ndarray | None, reason: str, path: Path
) -> None:
    tensors = {f"layers.{name}": value}
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    refused(path, reason)


def test_a_pool_of_features(path: Path) -> None:
    random_network(1, logits="codes").save(path)
    pool = {"kind": "maxpool2d", "kernel": 1, "stride": 1}
    path.write_bytes(edited(path.read_bytes(), lambda values: values["layers"].append(pool)))
    refused(path, "layer 6: kind = 'maxpool2d': does not fit an input of (5,)")


def test_no_layer_with_weights(path: Path) -> None:
    def only_flatten(values: Values) -> None:
        values["layers"] = [{"kind": "flatten"}]
        values["input"]["shape"] = [5, 1, 1]

    header, _ = split(edited(path.read_bytes(), only_flatten))
    path.write_bytes(join({"__metadata__": header["__metadata__"]}, b""))
    refused(path, "layers = ['flatten']: must have one with weights")


def test_a_layer_after_accumulators(path: Path) -> None:
    random_network(1).save(path)

    def int32_before(values: Values) -> None:
        before = values["layers"][4]
        before["output"] = "int32"
        for key in ("output_exponent", "output_zero_point", "output_bits", "shift"):
            before.pop(key)

    path.write_bytes(edited(path.read_bytes(), int32_before))
    refused(path, "layer 5: kind = 'linear': must not come after int32")


def test_shifts_by_channel_equal_their_tensor(path: Path) -> None:
    random_network(1, per_channel=True).save(path)
    whole = path.read_bytes()
    path.write_bytes(edited(whole, layer(0, weight_exponent=[-3])))
    refused(path, "layer 0: weight_exponent: length = 1: must be 8")
    path.write_bytes(whole)
    tensors = load(path.read_bytes())
    tensors["layers.2.shift"][3] += 1
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    refused(path, "layer 2: shift = [")
    tensors["layers.2.shift"] = np.zeros(6, np.int64)
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    refused(path, "layer 2: tensor shift: type = 'int64': must be int32")


def test_weights_that_are_no_powers(path: Path) -> None:
    random_network(1, kind="power_of_two", weight_bits=4).save(path)
    tensors = load(path.read_bytes())
    tensors["layers.0.weight"].flat[0] = 3
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    refused(path, "layer 0: weight = [3]: must be 0 or ±2^k")


def test_weights_that_are_zero_where_none_may_be(path: Path) -> None:
    random_network(1, kind="power_of_two_nonzero", weight_bits=4).save(path)
    whole, name = path.read_bytes(), "layers.0.weight"
    weight = load(whole)[name]
    for value, reason in (
        (0, "weight = [0]: must be ±2^k"),
        (-96, "weight = [-96]: must be ±2^k"),
    ):
        weight.flat[0] = value
        path.write_bytes(replaced(whole, **{name: weight}))
        refused(path, f"layer 0: {reason}")
    random_network(1, kind="power_of_two_nonzero", weight_bits=3).save(path)
    whole = path.read_bytes()
    weight = load(whole)[name]
    weight.flat[0] = -16
    path.write_bytes(replaced(whole, **{name: weight}))
    refused(path, "layer 0: weight = 16: must be within ±8, as weight_code_bits = 3 says")
    path.write_bytes(edited(whole, layer(0, weight_code_bits=2, weight_bits=3)))
    refused(path, "layer 0: weight_code_bits = 2: must be 3 or 4")
    path.write_bytes(edited(whole, layer(0, weight_bits=8)))
    refused(path, "layer 0: weight_bits = 8: must be 5, which weight_code_bits = 3 tell apart")


@pytest.mark.parametrize("name", ["layers.0.weight", "layers.5.bias"])
def test_a_digest_shows_a_flipped_bit(name: str, path: Path) -> None:
    header, body = split(path.read_bytes())
    damaged = bytearray(body)
    damaged[header[name]["data_offsets"][0]] ^= 1
    path.write_bytes(join(header, bytes(damaged)))
    refused(path, "sha256 = '")
