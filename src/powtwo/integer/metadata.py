"""The metadata of an integer network's file, read without its weights and without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

FORMAT = 1  # of the file


def read(path: Path | str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Return the metadata of docs/integer-file.md, and the shape of each tensor.

    Raises:
        ValueError: where the file is no integer network, or of another format.
        FileNotFoundError: where there is no such file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {}).get("powtwo", "{}"))
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not an integer network: {error}; convert it again") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: format = {metadata.get('format')}: must be {FORMAT}; convert it again"
        )
    return metadata, shapes
