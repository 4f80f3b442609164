"""What both front ends make of a network: a list of operations, each of which reads earlier ones.

| kind | options | tensors |
|---|---|---|
| conv2d | stride, padding, dilation, groups | weight (O, I / groups, kH, kW), bias |
| linear | | weight (O, I), bias |
| batch_norm | epsilon, momentum | weight, bias, running_mean, running_var, each (C,) |
| bias | | bias, a constant for each channel |
| relu, relu6, add, identity | | |
| dropout | probability | |
| maxpool2d, avgpool2d | kernel, stride, padding, dilation, ceil, counts_padding | |
| adaptive_maxpool2d, adaptive_avgpool2d | size (rows, columns) | |
| reshape | shape without the batch; one may be -1 | |
| pad | padding | |
| concat | axis | |
| softmax | log | |

A padding is (top, left, bottom, right), or SAME_UPPER or SAME_LOWER as ONNX has them. Weights and
biases that require no gradient keep their values in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from torch import Tensor

SAME = ("SAME_UPPER", "SAME_LOWER")
SEE = "docs/networks.md lists what is read"
_ACTIVATION = "use ReLU or ReLU6"
_CONSTANTS = "data.normalize has mean and deviation; a product of two values has no integer layer"
_LAYOUT = "export the network with its channels first (NCHW)"
REMEDIES = {  # by the operator's name in small letters
    **dict.fromkeys(
        ("sigmoid", "tanh", "gelu", "silu", "hardswish", "hardsigmoid", "leakyrelu", "leaky_relu",
         "elu", "selu", "mish", "prelu", "softplus", "celu", "swish"),
        _ACTIVATION,
    ),
    **dict.fromkeys(("mul", "sub", "div"), _CONSTANTS),
    **dict.fromkeys(("transpose", "permute"), _LAYOUT),
    "feature_dropout": "use nn.Dropout",
    "detach": "leave it out, and keep what comes before from training by requires_grad_(False)",
    "argmax": "end the network at its logits",
    "quantizelinear": "give the float file that this one was quantized from",
    "dequantizelinear": "give the float file that this one was quantized from",
    "cast": "give a file in float32",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One operation on images (N, C, H, W) or features (N, F)."""

    kind: str
    name: str  # as errors call it: its place in the user's network
    operator: str  # as its maker calls it: conv2d, Conv
    inputs: tuple[str, ...]  # names of values
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def refuse(self, rule: str, remedy: str) -> NoReturn:
        """Refuse the network for this operation.

        Raises:
            ValueError: naming it, its operator, the rule and the remedy.
        """
        raise ValueError(f"{self.name} ({self.operator}): {rule}; {remedy}")

    def require(self, holds: bool, rule: str, remedy: str) -> None:
        """Refuse the network unless a rule holds."""
        if not holds:
            self.refuse(rule, remedy)


@dataclass(frozen=True)
class Operations:
    """A network: what it reads, what it gives, and what comes between, in order."""

    input: str
    output: str
    steps: tuple[Operation, ...]

    def readers(self) -> dict[str, list[Operation]]:
        """Return which operations read each value; the output of the network has none."""
        result: dict[str, list[Operation]] = {step.output: [] for step in self.steps}
        for step in self.steps:
            for name in step.inputs:
                result.setdefault(name, []).append(step)
        return result

    def makers(self) -> dict[str, Operation]:
        """Return which operation gives each value."""
        return {step.output: step for step in self.steps}


@dataclass(frozen=True)
class Made:
    """A network as its maker has it."""

    operations: Callable[[], Operations]
    run: Callable[[Tensor], Tensor]  # images (N, C, H, W) to outputs
    randomized: Callable[[], AbstractContextManager[None]]  # both with random weights meanwhile


def refuse_operator(name: str, operator: str) -> NoReturn:
    """Refuse an operator that no rule reads.

    Raises:
        ValueError: naming it, and what to do.
    """
    remedy = REMEDIES.get(operator.lower().rstrip("_"), "replace it, or leave it out")
    raise ValueError(f"{name} ({operator}): is not read; {remedy}; {SEE}")


class ClassesError(ValueError):
    """The user's function fails, maybe as nobody knows yet how many classes there are."""


class Parameters:
    """Which operation has taken each parameter: no two may share one."""

    def __init__(self) -> None:
        self._takers: dict[str, str] = {}

    def take(self, parameters: Iterable[str], taker: str) -> None:
        """Note that an operation has these parameters.

        Raises:
            ValueError: where one of them is taken.
        """
        for name in parameters:
            if name in self._takers:  # maybe by the same module, called twice
                raise ValueError(
                    f"{taker}: has the weights {name} of {self._takers[name]}, and layers cannot "
                    "share weights; give each its own"
                )
            self._takers[name] = taker
