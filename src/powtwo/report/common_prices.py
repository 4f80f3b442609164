"""The one table in which all schemes of a comparison are priced.

The configured table where it prices every scheme, else the table for all widths: two schemes are
never compared at prices of different tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Columns of plots/energy-sensitivity.csv after the scheme; in the metrics, keys of a row.
SENSITIVITY = ("varied", "value", "table", "zero_point", "weights_in", "activations_in",
               "arithmetic_float_uj", "arithmetic_integer_uj", "arithmetic_ratio",
               "memory_float_uj", "memory_integer_uj", "memory_ratio", "sum_ratio",
               "ratio_of", "ratio")  # fmt: skip

Metrics = Mapping[str, Any]  # of metrics/energy/<scheme>.json


def table(schemes: Sequence[Metrics]) -> str:
    """Return the name of a table that prices every scheme, the configured one where it can.

    Raises:
        ValueError: where there is none.
    """
    common = set.intersection(*({found["table"] for found in _priced(one)} for one in schemes))
    names = [found["table"] for found in _priced(schemes[0]) if found["table"] in common]
    if not names:
        raise ValueError(
            "energy: no table prices every scheme; set energy.all_widths to one that does, such as "
            "qtools"
        )
    return str(names[0])


def place(found: Metrics, name: str) -> str:
    """Return the key under which a scheme's figures in the table `name` stand; "" at the top."""
    return "" if found["table"] == name and found["unpriced"] is None else "all_widths"


def _priced(found: Metrics) -> list[Metrics]:
    """List the tables' figures of a scheme that has prices there."""
    both = (found, found["all_widths"])
    return [one for one in both if one is not None and one["unpriced"] is None]
