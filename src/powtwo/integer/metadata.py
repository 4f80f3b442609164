"""An integer network's file, read without PyTorch: what it says, checked against what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from powtwo.core import strict, tensors
from powtwo.core.tensors import Arrays
from powtwo.integer import checks, schema

FORMAT = 1  # of the file
REMEDY = "convert it again, or take an undamaged copy"


def read(path: Path | str) -> tuple[schema.Network, Arrays]:
    """Return the metadata of docs/integer-file.md, and the tensors; nothing is believed.

    Raises:
        ValueError: where the file is no integer network, of another format, or breaks a rule.
        OSError: where it cannot be opened, as where there is none.
    """
    with strict.refused(path, REMEDY):
        return validated(*tensors.read(path, "an integer network"))


def validated(values: dict[str, Any], arrays: Arrays) -> tuple[schema.Network, Arrays]:
    """Return metadata as a typed value, and the arrays that they fit.

    Raises:
        ValueError: naming the layer, the key, its value and the rule.
    """
    version = values.get("format")
    is_known = type(version) is int and version == FORMAT  # True is no 1
    strict.require(is_known, "format", version, f"must be {FORMAT}")
    network = strict.validate(schema.Network, values)
    checks.check(network, arrays)
    tensors.check_digest(values, arrays)
    return network, arrays
