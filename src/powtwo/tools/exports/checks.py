"""What each file of an export must agree with; a check returns what is equal, or raises."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from powtwo.export import course, golden, manifest
from powtwo.export.rtl import memory_images
from powtwo.tools.exports import programs as tools
from powtwo.tools.exports.exported import DifferenceError, Export, logits, require_equal


def check_manifest(export: Export) -> str:
    """Compare the sha256 of every file, and the layers with the network's."""
    listed = export.about["files"]
    for name, entry in listed.items():
        path = export.folder / name
        if not path.exists():
            raise DifferenceError(f"{name} is missing; export again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise DifferenceError(f"{name} has another sha256; export again")
    for key, value in json.loads(manifest.to_bytes(manifest.describe(export.network))).items():
        if _without_memory(export.about.get(key)) != value:
            raise DifferenceError(f"{key} is not the network's; export again")
    return f"{len(listed)} files as recorded"


def check_golden(export: Export) -> str:
    """Run the reference on the golden pixels and compare every array."""
    expected = golden.vectors(export.network, export.vectors["pixels"].astype(np.uint8))
    if set(expected) != set(export.vectors):
        raise DifferenceError(f"arrays {sorted(set(expected) ^ set(export.vectors))} are odd")
    for name, array in expected.items():
        require_equal(export.vectors[name], array, name)
    return f"{len(expected['pixels'])} images equal"


def check_c99(export: Export) -> str:
    """Compile the C, warnings being errors, and compare its logits for every image."""
    with tempfile.TemporaryDirectory() as scratch:
        program = tools.compile_c(export.folder, Path(scratch) / "network")
        require_equal(tools.run_c(program, export.pixels), export.logits, "logits")
        given = export.vectors["pixels"].astype(np.uint8)
        expected = logits(export.network, given)
        require_equal(tools.run_c(program, given), expected, "golden logits")
    return f"{len(export.pixels)} images equal"


def check_memory(export: Export) -> str:
    """Read every memory image again and compare it with the network and the golden vectors."""
    images = memory_images.images(export.network, export.vectors)
    for image in images:
        text = (export.folder / image.file).read_text(encoding="ascii")
        require_equal(memory_images.read(text, image), image.values, image.file)
    return f"{len(images)} memory images equal"


def check_simulation(export: Export) -> str:
    """Simulate the first layer that gives codes, for one golden image."""
    layers = export.about["layers"]
    index = next(i["index"] for i in layers if i.get("output") == "codes")
    said = tools.simulate(export.bench, export.folder, export.about, index)
    if not said.endswith(" equal"):
        raise DifferenceError(f"layer {index}: {said}")
    return f"layer {index} in Icarus Verilog: {said}"


def check_weights(export: Export) -> str:
    """Read weight.bin again and compare each tensor, without its padding."""
    data = (export.folder / course.WEIGHTS).read_bytes()
    found = iter(course.read_weights(data, export.network))
    count = 0
    for image in _constants(export):
        tensor = next(found)
        if image.role == "weight":
            used = image.values.shape[1]
            require_equal(tensor[:, used:], np.zeros_like(tensor[:, used:]), "padding")
            tensor = tensor[:, :used]
        require_equal(tensor, image.values, f"layer {image.layer}: {image.role}")
        count += 1
    return f"{count} tensors equal"


def check_inputs(export: Export) -> str:
    """Read input.bin again, and compare its pixels with the test images."""
    names, values = course.read_inputs((export.folder / course.INPUTS).read_bytes())
    if tuple(names) != export.network.classes:
        raise DifferenceError(f"classes {names}; the network has {list(export.network.classes)}")
    if values.min() < 0 or values.max() > 1:
        raise DifferenceError("values must lie in [0, 1]")
    pixels = np.rint(255 * values).astype(np.uint8)
    if export.dataset is None:
        return f"{pixels.shape[0] * pixels.shape[1]} images readable"
    expected = course.images_by_class(export.dataset, pixels.shape[1])
    require_equal(pixels, expected.reshape(pixels.shape), "pixels")
    return f"{pixels.shape[0] * pixels.shape[1]} images equal"


def _constants(export: Export) -> Iterator[memory_images.Image]:
    # Weights and folded biases are the same in weight.bin and in the memory images.
    for image in memory_images.images(export.network, export.vectors):
        if image.role in ("weight", "bias"):
            yield image


def _without_memory(value: Any) -> Any:
    """Return manifest values without what the memory images added to each layer."""
    if isinstance(value, list):
        return [_without_memory(item) for item in value]
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if key != "memory"}
    return value
