"""What each file of an export must agree with; a check returns what is equal, or raises."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from pathlib import Path

from powtwo.export import course, golden, manifest
from powtwo.export.rtl import memory_images
from powtwo.tools.exports import programs
from powtwo.tools.exports.exported import DifferenceError, Export, SkippedError, require_equal


def check_manifest(export: Export) -> str:
    """Compare the sha256 of every file, and its own if it has one, and the layers."""
    listed = export.manifest["files"]
    for name, entry in listed.items():
        path = export.folder / name
        if not path.exists():
            raise DifferenceError(f"{name} is missing; export again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise DifferenceError(f"{name} has another sha256; export again")
    sealed = manifest.SEAL in export.manifest
    if sealed and manifest.files_if_sealed((export.folder / manifest.FILE).read_bytes()) is None:
        raise DifferenceError(f"{manifest.FILE} is not as its own sha256 says; export again")
    stored = copy.deepcopy(export.manifest)
    for layer in stored["layers"]:
        layer.pop("memory", None)  # where its images lie: no property of the network
    expected = manifest.to_bytes(manifest.describe(export.network, export.steps))
    for key, value in json.loads(expected).items():
        if stored.get(key) != value:
            raise DifferenceError(f"{key} is not the network's; export again")
    return f"{len(listed)} files as recorded"


def check_golden(export: Export) -> str:
    """Run the reference on the golden pixels and compare every array."""
    expected = golden.vectors(export.network, export.vectors["pixels"])
    if unexpected := set(expected) ^ set(export.vectors):
        raise DifferenceError(f"arrays missing or unknown: {', '.join(sorted(unexpected))}")
    for name, array in expected.items():
        require_equal(export.vectors[name], array, name)
    return f"{len(expected['pixels'])} images equal"


def check_c99(export: Export) -> str:
    """Compile the C, warnings being errors, and compare its logits for every image."""
    with tempfile.TemporaryDirectory() as scratch:
        program = programs.compile_c(export.folder, Path(scratch) / "network")
        require_equal(programs.run_c(program, export.pixels), export.logits, "logits")
    return f"{len(export.pixels)} images equal"


def check_memory(export: Export) -> str:
    """Compare every memory image with the network's and the golden vectors'."""
    packed = export.manifest["memory"].get("packed", False)
    images = memory_images.images(export.network, export.steps, export.vectors, packed)
    for image in images:
        _require_content(export, image.file, image.text.encode())
    return f"{len(images)} memory images equal"


def check_simulation(export: Export) -> str:
    """Simulate the first layer that gives codes, for one golden image."""
    layers = export.manifest["layers"]
    coded = (layer for layer in layers if layer.get("output") == "codes")
    given = (layer["index"] for layer in coded if programs.is_simulated(layer))
    if (index := next(given, None)) is None:
        raise SkippedError("no layer that the testbench knows gives codes")
    printed = programs.simulate(export.folder, export.manifest, index)
    if not printed.endswith(" equal"):
        raise DifferenceError(f"layer {index}: {printed}")
    return f"layer {index} in Icarus Verilog: {printed}"


def check_weights(export: Export) -> str:
    """Compare weight.bin with the network's tensors."""
    tensors = course.tensors(export.steps)
    _require_content(export, course.WEIGHTS, course.weights(tensors))
    return f"{len(tensors)} tensors equal"


def check_inputs(export: Export) -> str:
    """Compare input.bin with the test images."""
    if export.dataset is None:
        raise SkippedError("no data set to compare its images with")
    count = export.manifest["course"][course.INPUTS]["images_a_class"]
    images = course.images_by_class(export.dataset, count)
    _require_content(export, course.INPUTS, course.inputs(images, export.network.classes))
    return f"{images.shape[0] * images.shape[1]} images equal"


def _require_content(export: Export, file: str, expected: bytes) -> None:
    if (export.folder / file).read_bytes() != expected:
        raise DifferenceError(f"{file} is not the network's; export again")
