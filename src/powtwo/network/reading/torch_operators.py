"""What each ATen operator says: from a node of an exported program to operations.

`a` are its arguments by the names of its schema, with parameters as tensors and values as names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from powtwo.network.reading.operations import Operation


@dataclass(frozen=True)
class Call:
    """A call of an operator."""

    name: str  # of its place in the network
    operator: str
    output: str
    shape: tuple[int, ...]  # of its output
    batch: int  # images that the network was traced with
    arguments: dict[str, Any]

    def __call__(self, kind: str, *inputs: Any, **options: Any) -> Operation:
        """Return an operation of a kind on some of the arguments."""
        tensors = options.pop("tensors", {})
        made = Operation(kind, self.name, self.operator, inputs, self.output, options, tensors)
        if wrong := [each for each in inputs if not isinstance(each, str)]:
            what = "a constant" if isinstance(wrong[0], Tensor) else f"{wrong[0]!r}"
            made.refuse(f"reads {what}, where values of images must be", "give each image its own")
        return made


def _conv2d(call: Call) -> Operation:
    a = call.arguments
    padding = a["padding"]
    if isinstance(padding, str):  # with a stride of 1, where both kinds of "same" are one
        padding = (0,) * 4 if padding == "valid" else "SAME_UPPER"
    else:
        padding = _four(padding)
    tensors = {"weight": a["weight"]} | ({} if a["bias"] is None else {"bias": a["bias"]})
    return call(
        "conv2d", a["input"], stride=_two(a["stride"]), padding=padding,
        dilation=_two(a["dilation"]), groups=a["groups"], tensors=tensors,
    )  # fmt: skip


def _linear(call: Call) -> Operation:
    a = call.arguments
    tensors = {"weight": a["weight"]} | ({} if a["bias"] is None else {"bias": a["bias"]})
    return call("linear", a["input"], tensors=tensors)


def _matmul(call: Call) -> Operation:
    first, second = list(call.arguments.values())[:2]
    if not isinstance(second, Tensor) or second.dim() != 2:
        return call("linear", first, second)  # which is refused for its inputs
    return call("linear", first, tensors={"weight": second.t().contiguous()})


def _batch_norm(call: Call) -> Operation:
    a = call.arguments
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: a[name] for name in names if a[name] is not None}
    made = call("batch_norm", a["input"], epsilon=a["eps"], momentum=a["momentum"], tensors=tensors)
    check_epsilon(made)
    made.require(
        not a["training"] and "running_mean" in tensors,
        "has no running statistics",
        "set track_running_stats to true, and training by module.train() alone",
    )
    rule = "has a momentum of 0 or None"  # which look alike here, and train differently
    made.require(a["momentum"] > 0, rule, "give it one above 0, such as 0.1")
    return made


def check_epsilon(made: Operation) -> None:
    """Refuse a batch norm whose epsilon no file of ours may have."""
    epsilon = made.options["epsilon"]
    made.require(
        0 < epsilon <= 1, f"has epsilon = {epsilon}", "give it one of 0 to 1, such as 1e-5"
    )


def _cut(call: Call) -> Operation:
    a = call.arguments
    low, high = (a.get("min_val", a.get("min")), a.get("max_val", a.get("max")))
    return cut(call, a["self"], low, high)


def cut(make: Callable[..., Operation], source: Any, low: Any, high: Any) -> Operation:
    """Return what cuts values at 0 and maybe at 6."""
    if low == 0 and (high is None or high >= 3e38 or math.isinf(high)):
        return make("relu", source)
    made = make("relu6", source)
    made.require((low, high) == (0, 6), f"cuts at {low} and {high}", "cut at 0 (ReLU), or 0 and 6")
    return made


def _add(call: Call) -> Operation:
    a = call.arguments
    one, other = a["self"], a["other"]
    if isinstance(other, Tensor) or isinstance(one, Tensor):
        value, constant = (other, one) if isinstance(one, Tensor) else (one, other)
        made = call("bias", value, tensors={"bias": constant})
    else:
        made = call("add", one, other)
    made.require(a["alpha"] == 1, f"has alpha = {a['alpha']}", "add without a factor")
    return made


def _pool(kind: str) -> Callable[[Call], Operation]:
    def make(call: Call) -> Operation:
        a = call.arguments
        kernel = _two(a["kernel_size"])
        made = call(
            kind, a.get("self", a.get("input")), kernel=kernel, stride=_two(a["stride"] or kernel),
            padding=_four(a["padding"]), ceil=a["ceil_mode"],
            dilation=_two(a.get("dilation", 1)), counts_padding=a.get("count_include_pad", True),
        )  # fmt: skip
        divisor = a.get("divisor_override")
        right = divisor in (None, math.prod(kernel))
        made.require(right, f"divides by {divisor}", f"leave divisor_override out: {kernel}")
        return made

    return make


def _adaptive(kind: str) -> Callable[[Call], Operation]:
    return lambda call: call(kind, call.arguments["self"], size=_two(call.arguments["output_size"]))


def _mean(call: Call) -> list[Operation]:
    a = call.arguments
    return mean(call, a["self"], a.get("dim"), a.get("keepdim", False))


def mean(
    make: Callable[..., Operation], source: Any, axes: Sequence[int] | None, keeps: bool
) -> list[Operation]:
    """Return what takes the mean of each channel, and leaves features where axes go."""
    average = make("adaptive_avgpool2d", source, size=(1, 1))
    over_images = axes is not None and {axis % 4 for axis in axes} == {2, 3}
    average.require(over_images, f"averages over axes {axes}", "average over height and width")
    if keeps:
        return [average]
    before = f"{average.output}.average"
    first = Operation("adaptive_avgpool2d", average.name, average.operator, average.inputs, before,
                      average.options)  # fmt: skip
    return [first, make("reshape", before, shape=(-1,))]


def _reshape(call: Call) -> Operation:
    made = call("reshape", call.arguments["self"], shape=call.shape[1:])
    made.require(call.shape[:1] == (call.batch,), f"gives {call.shape}", "keep images apart")
    return made


def _concat(call: Call) -> Operation:
    return call("concat", *call.arguments["tensors"], axis=call.arguments["dim"])


def _pad(call: Call) -> Operation:
    a = call.arguments
    sides = (*a["pad"], 0, 0, 0, 0)[: max(4, len(a["pad"]))]
    left, right, top, bottom = sides[:4]
    made = call("pad", a["self"], padding=(top, left, bottom, right))
    zero = a.get("mode", "constant") == "constant" and not a["value"] and not any(sides[4:])
    zero = zero and min(sides) >= 0
    made.require(zero, "pads with other than zeros around images", "pad height and width by zeros")
    return made


def _softmax(log: bool) -> Callable[[Call], Operation]:
    return lambda call: call("softmax", call.arguments["self"], log=log, axis=call.arguments["dim"])


def _plain(kind: str) -> Callable[[Call], Operation]:
    return lambda call: call(kind, call.arguments["self"])


def _dropout(call: Call) -> Operation:
    a = call.arguments
    return call("dropout", a.get("input", a.get("self")), probability=a["p"])


def _cast(call: Call) -> Operation:
    dtype = call.arguments.get("dtype")
    made = call("identity", call.arguments["self"])
    made.require(dtype in (None, torch.float32), f"casts to {dtype}", "stay in float32")
    return made


def _two(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] * 2 if isinstance(value, int) else list(value) * (2 if len(value) == 1 else 1)
    return values[0], values[1]


def _four(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    return _two(value) * 2


OPERATORS: dict[str, Callable[[Call], Operation | list[Operation]]] = {
    "conv2d": _conv2d, "linear": _linear, "matmul": _matmul, "mm": _matmul,
    "batch_norm": _batch_norm,
    "relu": _plain("relu"), "relu6": _plain("relu6"),
    "hardtanh": _cut, "clamp": _cut, "clamp_min": _cut, "clip": _cut,
    "add": _add,
    "max_pool2d": _pool("maxpool2d"), "avg_pool2d": _pool("avgpool2d"),
    "adaptive_avg_pool2d": _adaptive("adaptive_avgpool2d"),
    "adaptive_max_pool2d": _adaptive("adaptive_maxpool2d"),
    "mean": _mean,
    "flatten": _reshape, "view": _reshape, "reshape": _reshape, "squeeze": _reshape,
    "unsqueeze": _reshape, "unflatten": _reshape,
    "cat": _concat, "concat": _concat, "pad": _pad, "constant_pad_nd": _pad,
    "dropout": _dropout, "to": _cast,
    "softmax": _softmax(log=False), "log_softmax": _softmax(log=True),
    **dict.fromkeys(("contiguous", "clone", "alias", "getitem"), _plain("identity")),
}  # fmt: skip
