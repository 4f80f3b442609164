"""A safetensors file that describes itself: tensors, and JSON under the metadata key `powtwo`.

The format: https://github.com/huggingface/safetensors. Nothing in it is ever unpickled, the same
tensors and description give the same bytes, and its key `sha256` tells whether they are still
those that were written. PyTorch is not needed to read one.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from powtwo.core import strict

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, npt.NDArray[Any]]

KEY = "powtwo"  # of the metadata
DIGEST = "sha256"  # of what it says
HEADER_LIMIT = 4 * 2**20  # bytes: many times what a large network needs, and read in a moment
DESCRIPTION_LIMIT = 2**20  # characters
MOST = 10_000  # tensors
TYPES = ("I8", "I32", "I64", "F32", "F64")  # of tensors, as safetensors calls them


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Return tensors, from whatever device they are on, as arrays."""
    return {name: tensor.contiguous().cpu().numpy() for name, tensor in tensors.items()}


def as_json(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description as a reader of its file will have it."""
    values: dict[str, Any] = json.loads(json.dumps(description))
    return values


def write(path: Path | str, arrays: Arrays, description: Mapping[str, Any]) -> None:
    """Write arrays, and what `description` says of them."""
    described = {**description, DIGEST: digest(description, arrays)}
    text = json.dumps(described, sort_keys=True)
    Path(path).write_bytes(save(arrays, metadata={KEY: text}))


def read(path: Path | str, what: str) -> tuple[dict[str, Any], Arrays]:
    """Return what a file says of itself, and its arrays; `what` is what it should be.

    The digest is left to `check_digest`: what else is wrong can be said more precisely.

    Raises:
        ValueError: where it is no such file, or a damaged one, without its name.
        OSError: where it cannot be opened, as where there is none.
    """
    try:
        _check_header(Path(path))
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY, "null")
            if len(text) > DESCRIPTION_LIMIT:
                raise ValueError(f"metadata of more than {DESCRIPTION_LIMIT:,} characters")
            description = strict.parse_json(text)
            if not isinstance(description, dict):
                raise ValueError("its metadata are no JSON object")
            names = file.keys()
            strict.require(len(names) <= MOST, "tensors", len(names), f"must be at most {MOST:,}")
            return description, {name: _array(file, name) for name in names}
    except (SafetensorError, ValueError) as error:  # the first is neither OSError nor ValueError
        raise ValueError(f"not {what}: {error}") from None


def check_digest(description: Mapping[str, Any], arrays: Arrays) -> None:
    """Compare a file's digest, where it has one, with what the file holds.

    Raises:
        ValueError: where they differ.
    """
    if DIGEST in description and description[DIGEST] != digest(description, arrays):
        raise ValueError(
            f"{DIGEST} = {strict.shown(description[DIGEST])}: differs from what the file holds, "
            "which is damaged"
        )


def digest(description: Mapping[str, Any], arrays: Arrays) -> str:
    """Return the sha256 that docs/integer-file.md defines, in hex."""
    rest = {key: value for key, value in description.items() if key != DIGEST}
    result = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        result.update(f"\n{name} {array.dtype.name} {list(array.shape)}\n".encode())
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        result.update(np.ascontiguousarray(little).data)
    return result.hexdigest()


def check_array(
    name: str, array: npt.NDArray[Any], dtype: str, shape: tuple[int, ...] | None = None
) -> None:
    """Check an array's type, its shape where one is given, and that its numbers are finite.

    Raises:
        ValueError: naming what is wrong.
    """
    strict.require(array.dtype == dtype, f"{name}: type", array.dtype.name, f"must be {dtype}")
    if shape is not None:
        strict.require(array.shape == shape, f"{name}: shape", array.shape, f"must be {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        value = array[~np.isfinite(array)].flat[0]
        raise ValueError(f"{name} = {value}: every number must be finite")


def _check_header(path: Path) -> None:
    """Refuse what could keep a reader busy before it finds out that it is no such file."""
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")  # a FIFO would be waited for
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > HEADER_LIMIT:
        raise ValueError(f"no safetensors file, or a header of more than {HEADER_LIMIT:,} bytes")


def _array(file: Any, name: str) -> npt.NDArray[Any]:
    kind = file.get_slice(name).get_dtype()
    strict.require(kind in TYPES, f"tensor {name}: type", kind, f"must be of {', '.join(TYPES)}")
    array: npt.NDArray[Any] = file.get_tensor(name)
    return array
