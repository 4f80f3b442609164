"""Damage to files, drawn from a seed: to their bytes, their JSON, their safetensors header."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

NASTY = [
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 31, 32, 127, 128, 255, 256, 300, 2**31, 2**63, 10**12,
    10**400, -500, 1.0, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), "", "no", "floor",
    "half_up", "codes", "int32", "conv2d", "linear", "flatten", "../../x", "a\nb", "\ud800", "\0",
    "x" * 5000, [], {}, [1], [[]], [1, 2, 3], {"a": 1}, "power_of_two", "standard",
]  # fmt: skip


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and its tensors."""
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def join(header: dict[str, Any] | str, body: bytes) -> bytes:
    """Put a safetensors file together."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def edited(content: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a file of ours whose description was edited in place."""
    header, body = split(content)
    description = json.loads(header["__metadata__"]["powtwo"])
    edit(description)
    header["__metadata__"]["powtwo"] = json.dumps(description)
    return join(header, body)


def replaced(content: bytes, **tensors: np.ndarray | None) -> bytes:
    """Return a safetensors file with other tensors, or without those that are None."""
    about, stored = split(content)[0]["__metadata__"], load(content) | tensors
    return save({k: np.asarray(v) for k, v in stored.items() if v is not None}, metadata=about)


def check_refused(read: Callable[[Path], object], path: Path, reason: str, remedy: str) -> None:
    """Check that a file is refused for a reason, in one line with path and remedy."""
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        read(path)
    line = str(refusal.value)
    assert line.startswith(f"{path}: {reason}")
    assert line.endswith(f"; {remedy}")


def mutated(content: bytes, seed: int) -> bytes:
    """Damage the bytes of any file."""
    rng = random.Random(seed)
    data = bytearray(content)
    # Half of the damage is near the beginning or the end, where formats keep what matters.
    near = min(len(data), 3000)
    start = rng.choice([0, 0, len(data) - near]) if rng.random() < 0.5 else 0
    end = min(len(data), start + near) if rng.random() < 0.5 else len(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(start, max(end, start + 1))
        length = rng.choice([1, 1, 2, 8, 100])
        match rng.randrange(7):
            case 0 | 1 | 2:
                data[at : at + 1] = bytes(b ^ (1 << rng.randrange(8)) for b in data[at : at + 1])
            case 3:
                data[at : at + length] = rng.randbytes(len(data[at : at + length]))
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = rng.choice([rng.randbytes(length), data[at : at + length], b"0"])
            case 6:
                del data[at:]
    return bytes(data)


def mutated_description(content: bytes, seed: int) -> bytes:
    """Damage what a file of ours says of itself, by key or in its text."""
    rng = random.Random(seed)
    header, body = split(content)
    text = header["__metadata__"]["powtwo"]
    if rng.random() < 0.2:
        text = mutated(text.encode(), seed).decode(errors="replace")
    else:
        description = json.loads(text)
        digest = {key: description.pop(key) for key in ["sha256"] if key in description}
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            _change(description, rng)
        text = json.dumps(description | digest)  # without it nothing could tell some edits
    header["__metadata__"]["powtwo"] = text
    return join(header, body)


def mutated_header(content: bytes, seed: int) -> bytes:
    """Damage what a safetensors header says of its tensors."""
    rng = random.Random(seed)
    header, body = split(content)
    about = header.pop("__metadata__")
    for _ in range(rng.choice([1, 1, 2])):
        _change(header, rng)
    return join({"__metadata__": about, **header}, body)


def _change(values: Any, rng: random.Random) -> None:
    """Change one place somewhere in nested lists and mappings."""
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    if not keys:
        return
    key = rng.choice(keys)
    value = values[key]
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        _change(value, rng)
        return
    match rng.randrange(6):
        case 0:
            del values[key]
        case 1 if type(value) is int:
            values[key] = value + rng.choice([-1, 1, 2, 8])
        case 2 if isinstance(values, list):
            values.insert(key, value)
        case 2:
            values[rng.choice(["extra", "Kind", "powtwo", "\ud800"])] = value
        case 3 if len(keys) > 1:
            other = rng.choice(keys)
            values[key], values[other] = values[other], values[key]
        case _:
            values[key] = rng.choice(NASTY)
