"""The section `energy` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from powtwo.core.params import Section


class Energy(Section):
    """How operations and memory are priced."""

    # Which tables and places there are, their files say; the stage refuses an unknown one.
    table: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    zero_point: Literal["per_use", "per_input", "folded", "msb_flip"]
    all_widths: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = None
    memory: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = None
    weights_in: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")] = "dram"
    activations_in: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")] = "sram_1mb"
