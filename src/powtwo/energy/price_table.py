"""A table of what operations cost: YAML in, exact fractions out.

Prices are kept as the decimals that the file shows, so that sums are exact and 422.8 pJ is 422.8.
A table lists operations one by one under `prices`, and families of any width under `formulas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import yaml

from powtwo.energy import formulas
from powtwo.energy.formulas import Formula

T = TypeVar("T")
FOLDER = Path(__file__).parent / "prices"
KEYS = {"name", "unit", "process_nm", "sources", "prices"}
OPTIONAL = {"formulas"}


class UnpricedError(ValueError):
    """A table has no price for `operation`: no operation is free in silence."""

    def __init__(self, operation: str, message: str) -> None:
        super().__init__(message)
        self.operation = operation


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
    formulas: Mapping[str, Formula] = field(default_factory=dict)  # by family, such as multiply
    key: str = "energy.table"  # the parameter that names the table

    def __getitem__(self, operation: str) -> Fraction:
        """Return the price of an operation in pJ: the one listed, else that of its family.

        Raises:
            UnpricedError: where the table has neither.
        """
        if operation in self.prices:
            return self.prices[operation].pj
        name, widths = formulas.family(operation) or ("", (0, 0))
        if name in self.formulas and self.formulas[name].covers(widths):
            return self.formulas[name].price(widths)
        raise UnpricedError(
            operation,
            f"{self.key} = {self.name}: has no price for {operation}, only for "
            f"{', '.join([*sorted(self.prices), *self._families()])}; add it to "
            f"{self.name}.yaml with its source, or name another table",
        )

    def _families(self) -> list[str]:
        return [
            f"any {name} of {low} to {high} bits"
            for name, (low, high) in sorted((n, f.bits) for n, f in self.formulas.items())
        ]


def load(name: str, folder: Path = FOLDER, key: str = "energy.table") -> PriceTable:
    """Read `<folder>/<name>.yaml`; `key` is the parameter that names it.

    Raises:
        ValueError: where there is no such table, or it breaks a rule.
    """
    return replace(read(name, folder, key, parse), key=key)


def read(
    name: str, folder: Path, key: str, parse: Callable[[Any, str], T], otherwise: str = ""
) -> T:
    """Read `<folder>/<name>.yaml` by `parse`; an error names the parameter `key`.

    Raises:
        ValueError: where there is no such table, or it is not YAML; it ends with `otherwise`.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ValueError(f"{key} = {name}: no such table; name one of {known}{otherwise}")
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
    if not isinstance(values, dict) or set(values) - OPTIONAL != KEYS:
        raise ValueError(f"{source}: must be a mapping with the keys {', '.join(sorted(KEYS))}")
    if values["unit"] != "pJ":
        raise ValueError(f"{source}: unit = {values['unit']!r}: must be pJ; convert the prices")
    found = values.get("formulas", {})
    if not all(isinstance(part, dict) for part in (values["sources"], values["prices"], found)):
        raise ValueError(f"{source}: sources and prices must be mappings; see prices/lab.yaml")
    prices = {
        operation: _price(f"{source}: {operation}", entry, values["sources"])
        for operation, entry in values["prices"].items()
    }
    families = {
        name: formulas.parse(f"{source}: formulas: {name}", entry, values["sources"])
        for name, entry in found.items()
    }
    return PriceTable(values["name"], values["process_nm"], values["sources"], prices, families)


def _price(where: str, entry: Any, sources: Mapping[str, str]) -> Price:
    if not isinstance(entry, dict) or set(entry) != {"price", "source"}:
        raise ValueError(f"{where} = {entry!r}: must be {{price: pJ, source: key of sources}}")
    if entry["source"] not in sources:
        raise ValueError(f"{where}: source = {entry['source']!r}: not in sources; add it there")
    return Price(formulas.number(f"{where}: price", entry["price"]), entry["source"])
