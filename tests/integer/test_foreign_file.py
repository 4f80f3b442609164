"""A file that is no network's, or no longer: refused in a line, whatever it is."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from damage import join, split
from networks import random_network
from refused_network import refused
from safetensors.numpy import save

from powtwo.integer import metadata
from powtwo.integer.network import IntegerNetwork

ROOT = Path(__file__).resolve().parents[2]
OTHER = "not an integer network: "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", f"{OTHER}its metadata are no JSON object"),
        ("null", f"{OTHER}its metadata are no JSON object"),
        ("[" * 100_000 + "]" * 100_000, f"{OTHER}no JSON: nested too deeply"),
        ('{"format": 1, "format": 1}', f"{OTHER}'format': is there twice"),
        (
            '{"format": 1, "scheme": -Infinity}',
            f"{OTHER}-Infinity: every number must be finite",
        ),
        ('{"format": 1e999}', "format = inf: must be 1"),
        ('{"format": 1' + "0" * 5000 + "}", f"{OTHER}Exceeds the limit"),
        (" " * 2**20 + "{}", f"{OTHER}metadata of more than 1,048,576 characters"),
    ],
)
def test_json_that_is_no_description(text: str, reason: str, path: Path) -> None:
    header, body = split(path.read_bytes())
    header["__metadata__"]["powtwo"] = text
    path.write_bytes(join(header, body))
    refused(path, reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", f"{OTHER}no safetensors file"),
        (
            b"no network",
            f"{OTHER}no safetensors file, or a header of",
        ),
        (
            struct.pack("<Q", 2**62),
            f"{OTHER}no safetensors file, or",
        ),
        (struct.pack("<Q", 100) + b"{", f"{OTHER}Error while deserializing header"),
        (
            join({"a": {"dtype": "I8", "shape": [10**12], "data_offsets": [0, 10**12]}}, b"1"),
            f"{OTHER}Error while deserializing header",
        ),
        (
            join({"a": {"dtype": "I8", "shape": [2**40, 2**40], "data_offsets": [0, 1]}}, b"1"),
            f"{OTHER}Error while deserializing header",
        ),
        (save({"a": np.zeros(1)}), f"{OTHER}its metadata are no JSON object"),
    ],
)
def test_another_file(content: bytes, reason: str, path: Path) -> None:
    path.write_bytes(content)
    refused(path, reason)


def test_a_folder_or_no_file(tmp_path: Path) -> None:
    refused(tmp_path, f"{OTHER}no regular file")
    with pytest.raises(FileNotFoundError):
        IntegerNetwork.load(tmp_path / "none")


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    network = random_network(1)
    object.__setattr__(network, "scheme", "../x")
    with pytest.raises(ValueError, match="scheme = '../x'"):
        network.save(tmp_path / "network")
    assert not (tmp_path / "network").exists()


def test_published_networks_load_though_older_ones_have_no_digest() -> None:
    published = [metadata.read(file)[0] for file in ROOT.glob("results/*/*.safetensors")]
    assert {network.format for network in published} == {1}
    assert None in {network.sha256 for network in published}


def test_the_digest_is_that_of_the_docs(path: Path) -> None:
    header, body = split(path.read_bytes())
    described = json.loads(header.pop("__metadata__")["powtwo"])
    digest = described.pop("sha256")
    expected = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(header):
        about = header[name]
        kind = {"I8": "int8", "I32": "int32"}[about["dtype"]]
        expected.update(f"\n{name} {kind} {about['shape']}\n".encode())
        expected.update(body[slice(*about["data_offsets"])])
    assert digest == expected.hexdigest()
