"""Faults for the reference arithmetic, which a comparison with an oracle must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import operators
import pytest
import torch
from networks import ROUNDINGS

import powtwo.integer.network
from powtwo.integer import fixedpoint
from powtwo.integer.layer import Layer, accumulate, requantize_output

Mutation = Callable[[pytest.MonkeyPatch], None]


def mutated_shift(amount: int = 0, steps: int = 0) -> Mutation:
    """Shift by an amount more, or round in the mode that is so many steps on."""
    honest = fixedpoint.shift
    swap = {r: ROUNDINGS[(i + steps) % len(ROUNDINGS)] for i, r in enumerate(ROUNDINGS)}

    def mutate(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(fixedpoint, "shift", lambda a, n, r: honest(a, n + amount, swap[r]))

    return mutate


def replace_everywhere(patch: pytest.MonkeyPatch, name: str, mutated: Callable[..., Any]) -> None:
    for module in (powtwo.integer.network, operators):
        patch.setattr(module, name, mutated)


def input_zero_point_of_127(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, codes: torch.Tensor) -> torch.Tensor:
        return accumulate(replace(layer, input=replace(layer.input, zero_point=127)), codes)

    replace_everywhere(patch, "accumulate", mutated)


def output_zero_point_of_127(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, accumulators: torch.Tensor, rounding: Any) -> torch.Tensor:
        output = layer.output and replace(layer.output, zero_point=127)
        return requantize_output(replace(layer, output=output), accumulators, rounding)

    replace_everywhere(patch, "requantize_output", mutated)


def padded_zeros(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, codes: torch.Tensor) -> torch.Tensor:
        if layer.kind == "conv2d":
            codes = torch.nn.functional.pad(codes, [layer.padding] * 4)  # code 0, which is −z
        return accumulate(replace(layer, padding=0), codes)

    replace_everywhere(patch, "accumulate", mutated)


MUTATIONS = {
    "shift + 1": mutated_shift(1),
    "shift - 1": mutated_shift(-1),
    "next rounding": mutated_shift(steps=1),
    "last rounding": mutated_shift(steps=2),
    "input zero point 127": input_zero_point_of_127,
    "output zero point 127": output_zero_point_of_127,
    "padded zeros": padded_zeros,
}
