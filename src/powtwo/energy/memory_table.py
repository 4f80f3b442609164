"""A table of what memory costs: YAML in, exact fractions out.

It is kept apart from the operations' table, so that neither is added to the other by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from powtwo.energy import formulas, price_table
from powtwo.energy.price_table import FOLDER, Price, PriceTable

KEYS = {"name", "unit", "access_bits", "process_nm", "sources", "places"}


@dataclass(frozen=True)
class Place:
    """A memory: what a bit costs on its way in or out, and how much it holds."""

    bit: Price  # pJ a bit
    capacity_kib: int | None  # None: no limit that matters here


@dataclass(frozen=True)
class MemoryTable:
    """Memories by name, such as `sram_1mb`."""

    name: str
    process_nm: int
    sources: Mapping[str, str]
    places: Mapping[str, Place]

    @property
    def prices(self) -> PriceTable:
        """Return the price of moving a bit, by operations such as `dram_bit`."""
        bits = {f"{name}_bit": place.bit for name, place in self.places.items()}
        return PriceTable(self.name, self.process_nm, self.sources, bits, key="energy.memory")

    def check(self, key: str, place: str) -> None:
        """Refuse a place that the table lacks; `key` is the parameter that named it.

        Raises:
            ValueError: where there is no such place.
        """
        if place not in self.places:
            raise ValueError(
                f"{key} = {place}: no place of {self.name}; name one of {', '.join(self.places)}"
            )


def load(name: str, folder: Path = FOLDER / "memory") -> MemoryTable:
    """Read `<folder>/<name>.yaml`.

    Raises:
        ValueError: where there is no such table, or it breaks a rule.
    """
    return price_table.read(name, folder, "energy.memory", parse, ", or null")


def parse(values: Any, source: str) -> MemoryTable:
    """Check a table; `source` is what an error calls it.

    Raises:
        ValueError: where a key is missing or unknown, or a value is impossible.
    """
    if not isinstance(values, dict) or set(values) != KEYS:
        raise ValueError(f"{source}: must be a mapping with the keys {', '.join(sorted(KEYS))}")
    if values["unit"] != "pJ":
        raise ValueError(f"{source}: unit = {values['unit']!r}: must be pJ; convert the prices")
    width = values["access_bits"]
    if type(width) is not int or width < 1:
        raise ValueError(f"{source}: access_bits = {width!r}: must be a number of bits")
    if not isinstance(values["sources"], dict) or not isinstance(values["places"], dict):
        raise ValueError(f"{source}: sources and places must be mappings")
    places = {
        name: _place(f"{source}: {name}", entry, values["sources"], width)
        for name, entry in values["places"].items()
    }
    return MemoryTable(values["name"], values["process_nm"], values["sources"], places)


def _place(where: str, entry: Any, sources: Mapping[str, str], width: int) -> Place:
    if not isinstance(entry, dict) or set(entry) != {"price", "capacity_kib", "source"}:
        raise ValueError(f"{where} = {entry!r}: must have price, capacity_kib and source")
    if entry["source"] not in sources:
        raise ValueError(f"{where}: source = {entry['source']!r}: not in sources; add it there")
    capacity = entry["capacity_kib"]
    if capacity is not None and (type(capacity) is not int or capacity < 1):
        raise ValueError(f"{where}: capacity_kib = {capacity!r}: must be KiB or null")
    access = formulas.number(f"{where}: price", entry["price"])
    return Place(Price(access / Fraction(width), entry["source"]), capacity)
