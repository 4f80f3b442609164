"""The section `energy` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from powtwo.core.params import Section

# Which tables and memory levels exist, the files in prices/ say: a new one needs no edit here.
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
LevelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class Energy(Section):
    """How operations and memory are priced."""

    table: TableName
    zero_point: Literal["per_use", "per_input", "folded", "msb_flip"]
    all_widths: TableName | None = None
    memory: TableName | None = None
    weights_in: LevelName = "dram"
    activations_in: LevelName = "sram_1mb"
    second_node: TableName | None = None
