"""The section `export` of params.yaml."""

from __future__ import annotations

from typing import Literal

from powtwo.core.params import Count, SchemeName, Section


class Export(Section):
    """What leaves the project, and for which schemes."""

    schemes: list[SchemeName]
    images: Count
    formats: list[Literal["c99", "memory", "course", "onnx", "qdq", "qonnx"]]
    strict: bool = False  # a format that cannot express a network is an error, not left out
    packed: bool = False  # C and memory images have weights of 4 bits and fewer as packed words
