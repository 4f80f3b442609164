"""What assignments cost: the energy package's counts and prices, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import lcm

from powtwo.energy.counts import PJ_IN_UJ, float_counts, integer_counts, total_energy
from powtwo.energy.operation_prices import PriceTable
from powtwo.integer.shapes import LayerShape
from powtwo.tools.search.assign import Option

Codes = tuple[int | None, int | None]  # bits and zero point; None of int32

LOSS_UNITS = 10**9  # in a nat: sums of integers are the same in any order


@dataclass(frozen=True)
class Prices:
    """A table, and how zero points are subtracted."""

    table: PriceTable
    zero_point: str  # energy.zero_point of params.yaml

    def float_pj(self, layers: Sequence[LayerShape]) -> Fraction:
        """Return the energy of FP32 arithmetic in pJ."""
        return total_energy(float_counts(layers), self.table)

    def pj(self, layers: Sequence[LayerShape]) -> Fraction:
        """Return the energy of integer arithmetic in pJ.

        Raises:
            UnpricedError: where the table lacks a price.
        """
        return total_energy(integer_counts(layers, self.zero_point), self.table)


@dataclass(frozen=True)
class Budget:
    """The most that an image may cost."""

    pj: Fraction
    float_pj: Fraction  # what FP32 costs
    said: str  # as it was asked for

    @classmethod
    def of(cls, ratio: Fraction | None, uj: Fraction | None, float_pj: Fraction) -> Budget:
        """Take a ratio of FP32 to integers, or µJ."""
        if ratio is not None:
            return cls(float_pj / ratio, float_pj, f"ratio {float(ratio):g}")
        assert uj is not None
        return cls(uj * PJ_IN_UJ, float_pj, f"{float(uj):g} µJ")


@dataclass(frozen=True)
class Measured:
    """A format of one layer, measured alone."""

    shape: LayerShape
    added_loss: float  # nats, against the scheme as it is


def reads(shape: LayerShape) -> Codes:
    """Return the codes that a layer reads, as `assign` tells them apart."""
    return shape.input_bits, shape.input_zero_point


def gives(shape: LayerShape) -> Codes:
    """Return the codes that a layer gives."""
    return shape.output_bits, shape.output_zero_point


def options(layers: Sequence[Sequence[Measured]], prices: Prices) -> tuple[list[list[Option]], int]:
    """Return what `assign` chooses from, and how many of its units of energy make a pJ.

    Where accumulators have tiles, how many spill is taken from the codes that the layer read when
    it was measured; the network of an assignment has its own.

    Args:
        layers: the formats of each layer of a stack; the scheme's own first.
        prices: of operations.

    Raises:
        UnpricedError: where the table lacks a price.
    """
    codes = [{reads(layers[0][0].shape)}]
    codes += [{gives(each.shape) for each in before} for before, _ in pairwise(layers)]
    exact = [
        [{code: prices.pj([_reading(each.shape, code)]) for code in codes[at]} for each in formats]
        for at, formats in enumerate(layers)
    ]
    return _options(layers, exact, [[gives(each.shape) for each in row] for row in layers])


def options_of_fixed_codes(
    layers: Sequence[Sequence[Measured]], others: Sequence[LayerShape], prices: Prices
) -> tuple[list[list[Option]], int]:
    """Return what `options` does, of a network in which no format changes what a layer gives.

    What a layer costs then depends on nothing but its own format, and `assign` may take the layers
    for a chain, whatever they read.

    Args:
        layers: the formats of each layer with weights; the scheme's own first.
        others: additions and averages, whose energy is added to that of the first layer.
        prices: of operations.

    Raises:
        UnpricedError: where the table lacks a price.
    """
    code, rest = reads(layers[0][0].shape), prices.pj(others)
    exact = [
        [{code: prices.pj([each.shape]) + (rest if at == 0 else 0)} for each in formats]
        for at, formats in enumerate(layers)
    ]
    return _options(layers, exact, [[code] * len(row) for row in layers])


def _options(
    layers: Sequence[Sequence[Measured]],
    exact: Sequence[Sequence[dict[Codes, Fraction]]],
    given: Sequence[Sequence[Codes]],
) -> tuple[list[list[Option]], int]:
    unit = lcm(*(pj.denominator for row in exact for each in row for pj in each.values()))
    listed = [
        [
            Option(
                {code: int(pj * unit) for code, pj in energy.items()},
                round(each.added_loss * LOSS_UNITS),
                gives,
            )
            for each, energy, gives in zip(formats, energies, codes, strict=True)
        ]
        for formats, energies, codes in zip(layers, exact, given, strict=True)
    ]
    return listed, unit


def _reading(shape: LayerShape, codes: Codes) -> LayerShape:
    bits, zero_point = codes
    assert bits is not None
    assert zero_point is not None
    return replace(shape, input_bits=bits, input_zero_point=zero_point)
