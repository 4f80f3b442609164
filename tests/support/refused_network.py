"""A damaged file of an integer network, as every reader of one must refuse it."""

from __future__ import annotations

from pathlib import Path

from damage import check_refused

from powtwo.integer import metadata
from powtwo.integer.network import IntegerNetwork

REMEDY = "convert it again, or take an undamaged copy"


def refused(path: Path, reason: str) -> None:
    """Read a file with and without PyTorch: the same line."""
    for read in (metadata.read, IntegerNetwork.load):
        check_refused(read, path, reason, REMEDY)
