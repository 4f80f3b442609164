"""A safetensors file that describes itself: tensors, and JSON under the metadata key `powtwo`.

The format: https://github.com/huggingface/safetensors. Nothing in it is ever unpickled, and the
same tensors and description give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

KEY = "powtwo"  # of the metadata


def write(path: Path | str, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors, from whatever device they are on, and what `description` says of them."""
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={KEY: json.dumps(description, sort_keys=True)})


def read(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a file says of itself, nothing where it is another's, and its tensors.

    Raises:
        ValueError: where it is no safetensors file, or a damaged one.
        OSError: where it cannot be opened, as where there is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            description: dict[str, Any] = json.loads((file.metadata() or {}).get(KEY, "{}"))
            return description, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:  # which is neither an OSError nor a ValueError
        raise ValueError(f"{path}: no safetensors file ({error}); write it again") from None
