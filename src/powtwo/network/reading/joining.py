"""Convolutions side by side whose outputs are concatenated, as one convolution.

They read the same layer with the same stride, as in SqueezeNet's fire module. The smaller kernels
are laid into zeros, so that each weight meets the pixel that it met before.

Source: Iandola et al. 2016, https://arxiv.org/abs/1602.07360
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from powtwo.network.reading.operations import SAME, Operation, Operations

ONE_BY_ONE = ("conv2d", "batch_norm", "relu", "relu6")  # what a branch may have, at most once each
REMEDY = (
    "only convolutions can be concatenated that read the same layer with the same stride and no "
    "groups, followed by the same batch norm and ReLU; use an addition"
)


def with_joined_convolutions(network: Operations) -> Operations:
    """Replace each concatenation by one convolution."""
    steps = list(network.steps)
    for concat in [step for step in steps if step.kind == "concat"]:
        current = replace(network, steps=tuple(steps))
        branches = [_branch(name, current, concat) for name in concat.inputs]
        joined = _joined(branches, concat)
        gone = {step.output for branch in branches for step in branch}
        place = next(index for index, step in enumerate(steps) if step is concat)
        kept = [[each for each in part if each.output not in gone]
                for part in (steps[:place], steps[place + 1 :])]  # fmt: skip
        steps = [*kept[0], *joined, *kept[1]]
    return replace(network, steps=tuple(steps))


def _branch(name: str, network: Operations, concat: Operation) -> list[Operation]:
    """Return a convolution and what follows it up to the concatenation."""
    makers, readers = network.makers(), network.readers()
    branch: list[Operation] = []
    while not branch or branch[0].kind != "conv2d":
        step = makers.get(name)
        known = step is not None and step.kind in ONE_BY_ONE and len(readers[name]) == 1
        concat.require(known and len(branch) < 4, "concatenates", REMEDY)
        assert step is not None
        branch.insert(0, step)
        name = step.inputs[0]
    return branch


def _joined(branches: Sequence[Sequence[Operation]], concat: Operation) -> list[Operation]:
    """Return the layers of all branches as those of one."""
    first = branches[0]
    alike = all(_is_plain(branch[0]) and _key(branch) == _key(first) for branch in branches)
    concat.require(alike and concat.options["axis"] in (1, -3), "concatenates", REMEDY)
    steps = []
    for parts in zip(*branches, strict=True):
        tensors = _side_by_side([each.tensors for each in parts]) if parts[0].tensors else {}
        steps.append(replace(parts[0], tensors=tensors))
    steps[0] = _with_kernels([branch[0] for branch in branches], steps[0].tensors)
    steps[-1] = replace(steps[-1], output=concat.output)
    return steps


def _is_plain(conv: Operation) -> bool:
    return conv.options["groups"] == 1 and conv.options["padding"] not in SAME


def _key(branch: Sequence[Operation]) -> object:
    """Return what branches must have in common."""
    options = branch[0].options
    norms = [step.options.get("epsilon") for step in branch]
    kinds = [step.kind for step in branch]
    return branch[0].inputs, options["stride"], options["dilation"], kinds, norms


def _side_by_side(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate what is one number for each output channel; a missing bias is 0."""
    key = "weight" if "running_mean" not in tensors[0] else "running_mean"
    result = {}
    for name in sorted({name for each in tensors for name in each}):
        if name == "weight" and key == "weight":
            continue
        fill = 1.0 if name == "weight" else 0.0
        parts = [each.get(name, torch.full((len(each[key]),), fill)) for each in tensors]
        result[name] = torch.cat(parts)
    return result


def _with_kernels(parts: Sequence[Operation], tensors: Mapping[str, Tensor]) -> Operation:
    """Return the convolutions as one, whose window covers those of all."""
    paddings = [each.options["padding"] for each in parts]
    kernels = [each.tensors["weight"].shape[2:] for each in parts]
    before = [max(padding[axis] for padding in paddings) for axis in (0, 1)]
    # How far a window reaches beyond the pixel at which it stands.
    reach = [
        max(kernel[axis] - padding[axis] for kernel, padding in zip(kernels, paddings, strict=True))
        for axis in (0, 1)
    ]
    after = [
        next(
            padding[axis + 2] for kernel, padding in zip(kernels, paddings, strict=True)
            if kernel[axis] - padding[axis] == reach[axis]
        )
        for axis in (0, 1)
    ]  # fmt: skip
    rows, columns = (before[axis] + reach[axis] for axis in (0, 1))
    weights = []
    for part, padding in zip(parts, paddings, strict=True):
        weight = part.tensors["weight"]
        whole = weight.new_zeros(*weight.shape[:2], rows, columns)
        top, left = before[0] - padding[0], before[1] - padding[1]
        whole[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
        weights.append(whole)
    options = {**parts[0].options, "padding": (*before, *after)}
    return replace(parts[0], options=options, tensors={**tensors, "weight": torch.cat(weights)})
