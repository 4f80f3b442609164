"""Energy of hardware that skips a product where an operand is zero, and its addition.

The layer's share of such products is skipped of its multiplications and of the additions of
products. What remains is paid in full: spills of tiles, the bias, zero points, requantizing.

Source: skipping multiplications by zero, Chen et al. 2017 (Eyeriss),
https://doi.org/10.1109/JSSC.2016.2616357
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from powtwo.core import strict
from powtwo.energy.counts import OpCounts
from powtwo.energy.operation_prices import Table
from powtwo.integer.shapes import LayerShape

GATED = ("multiply", "accumulate")  # kinds of operations that a zero operand saves
REMEDY = "run the stage that wrote it again"

Shares = Mapping[int, Fraction]  # of products with a zero operand, by the layer's index


@dataclass(frozen=True)
class ZeroShares:
    """The zeros of the float network and of a scheme's integers, on the same images."""

    in_float: Shares
    in_integers: Shares


def gated_energy(counts: Iterable[OpCounts], table: Table, zeros: Shares) -> Fraction:
    """Return the energy in pJ of counts of which products with a zero operand are skipped."""
    return sum(
        (item.count * _kept(item, zeros) * table[item.operation] for item in counts), Fraction(0)
    )


def read_shares(path: Path | str, layers: Sequence[LayerShape]) -> Shares:
    """Read the zeros that an evaluating stage counted, plots/zeros.

    Raises:
        ValueError: where the file is damaged, or of another network.
        OSError: where it cannot be opened, as where there is none.
    """
    with strict.refused(path, REMEDY):
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        layers = [layer for layer in layers if layer.has_weights]
        indices = [layer.index for layer in layers]
        found = [_count(row, "layer") for row in rows]
        strict.require(found == indices, "layers", found, f"must be {indices}, the network's")
        return {
            layer.index: _share(row, layer.macs) for row, layer in zip(rows, layers, strict=True)
        }


def _kept(item: OpCounts, zeros: Shares) -> Fraction:
    gated = item.kind in GATED and item.layer.has_weights
    return 1 - zeros[item.layer.index] if gated else Fraction(1)


def _share(row: Mapping[str, str], macs: int) -> Fraction:
    images, products, zeros = (_count(row, key) for key in ("images", "products", "zero_products"))
    rule = f"must be {macs} for each of {images} images"
    strict.require(products == images * macs > 0, "products", products, rule)
    strict.require(zeros <= products, "zero_products", zeros, f"must be at most {products}")
    return Fraction(zeros, products)


def _count(row: Mapping[str, str], key: str) -> int:
    text = row.get(key) or ""
    strict.require(text.isdecimal(), key, text, "must be a count")
    return int(text)
