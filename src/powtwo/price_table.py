"""A table of what operations cost: YAML in, exact fractions out.

Prices are kept as the decimals that the file shows, so that sums are exact and 422.8 pJ is 422.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "prices"
KEYS = {"name", "unit", "process_nm", "sources", "prices"}


@dataclass(frozen=True)
class Price:
    """What one operation costs, and who says so."""

    pj: Fraction
    source: str  # a key of the table's sources


@dataclass(frozen=True)
class PriceTable:
    """Prices of operations by name, such as `int8_multiply`, in pJ."""

    name: str
    process_nm: int
    sources: Mapping[str, str]
    prices: Mapping[str, Price]

    def __getitem__(self, operation: str) -> Fraction:
        """Return the price of an operation in pJ.

        Raises:
            ValueError: where the table has none; no operation is free in silence.
        """
        if operation not in self.prices:
            raise ValueError(
                f"energy.table = {self.name}: has no price for {operation}, only for "
                f"{', '.join(sorted(self.prices))}; add it to {self.name}.yaml with its source, "
                "or name another table"
            )
        return self.prices[operation].pj


def load(name: str, folder: Path = FOLDER) -> PriceTable:
    """Read `<folder>/<name>.yaml`.

    Raises:
        ValueError: where there is no such table, or it breaks a rule.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ValueError(f"energy.table = {name}: no such table; name one of {known}")
    try:
        return parse(yaml.safe_load(path.read_text(encoding="utf-8")), path.name)
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None


def parse(values: Any, source: str) -> PriceTable:
    """Check a table; `source` is what an error calls it.

    Raises:
        ValueError: where a key is missing or unknown, the unit is not pJ, a price is no number of
            0 or more, or a price names no source of the table.
    """
    if not isinstance(values, dict) or set(values) != KEYS:
        raise ValueError(f"{source}: must be a mapping with the keys {', '.join(sorted(KEYS))}")
    if values["unit"] != "pJ":
        raise ValueError(f"{source}: unit = {values['unit']!r}: must be pJ; convert the prices")
    if not isinstance(values["sources"], dict) or not isinstance(values["prices"], dict):
        raise ValueError(f"{source}: sources and prices must be mappings; see prices/lab.yaml")
    prices = {
        operation: _price(f"{source}: {operation}", entry, values["sources"])
        for operation, entry in values["prices"].items()
    }
    return PriceTable(values["name"], values["process_nm"], values["sources"], prices)


def _price(where: str, entry: Any, sources: Mapping[str, str]) -> Price:
    if not isinstance(entry, dict) or set(entry) != {"price", "source"}:
        raise ValueError(f"{where} = {entry!r}: must be {{price: pJ, source: key of sources}}")
    if entry["source"] not in sources:
        raise ValueError(f"{where}: source = {entry['source']!r}: not in sources; add it there")
    try:
        pj = Fraction(str(entry["price"]))  # the shortest decimal, so the one that the file shows
    except ValueError:
        pj = Fraction(-1)
    if pj < 0 or isinstance(entry["price"], bool):
        raise ValueError(f"{where}: price = {entry['price']!r}: must be a number of 0 or more")
    return Price(pj, entry["source"])
