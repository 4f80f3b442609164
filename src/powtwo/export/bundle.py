"""A whole folder `exports/<scheme>/`: every format, a manifest and a README, or nothing.

All files are made in memory first. The folder is then written beside its place and moved there, so
that a format that fails, or a full disk, leaves what stood there as it was. A format that cannot
express the network is left out, and manifest and README say why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from powtwo.core import graph
from powtwo.core.arrays import Arrays
from powtwo.core.files import atomic_folder
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.export import course, golden, manifest
from powtwo.export.c99.names import prefix_for
from powtwo.export.c99.sources import sizes, sources
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.packing import packings
from powtwo.export.replace import refuse_loss
from powtwo.export.rtl import memory_images
from powtwo.export.steps import Step, UnsupportedError, steps_of
from powtwo.export.templates import render
from powtwo.integer.network import IntegerNetwork

QDQ = "network.qdq.onnx"


@dataclass(eq=False)
class Bundle:
    """An export under construction: its sources, its files, its manifest."""

    network: IntegerNetwork
    dataset: Dataset
    images: int  # golden images, and images a class in input.bin
    steps: list[Step]
    vectors: Arrays  # golden
    files: dict[str, bytes]
    manifest: dict[str, Any]
    prefix: str  # of names in C
    packed: bool  # whether weights are packed words in C and memory images


def write_bundle(  # noqa: PLR0917
    folder: Path | str,
    network: IntegerNetwork,
    dataset: Dataset,
    images: int,
    formats: Collection[str],
    strict: bool = False,
    *,
    prefix: str | None = None,
    packed: bool = False,
) -> dict[str, str]:
    """Write the folder in one move, in the place of an older export and of nothing else.

    Args:
        folder: `exports/<scheme>`.
        network: the network.
        dataset: gives golden images from its test images, `images` of them, evenly spaced.
        images: golden images, and images a class in input.bin.
        formats: names of `FORMATS`.
        strict: refuse a network that one of them cannot express.
        prefix: what the names in C begin with; the scheme by default.
        packed: whether C and memory images have weights of 4 bits and fewer as packed words.

    Returns:
        The formats that are left out since they cannot express the network, each with its reason.

    Raises:
        UnsupportedError: where no format could express the network, or under `strict` one cannot.
        ValueError: where a format is unknown, the prefix is no C identifier, or the folder holds
            what no export wrote.
    """
    folder = Path(folder)
    refuse_loss(folder)
    files = bundle_files(network, dataset, images, formats, strict, prefix=prefix, packed=packed)
    with atomic_folder(folder) as new:
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        refuse_loss(folder)  # once more: the work took its time
    return manifest.left_out(json.loads(files[manifest.FILE]))


def bundle_files(
    network: IntegerNetwork,
    dataset: Dataset,
    images: int,
    formats: Collection[str],
    strict: bool = False,
    *,
    prefix: str | None = None,
    packed: bool = False,
) -> dict[str, bytes]:
    """Return every file of the folder by its name; arguments and errors as in `write_bundle`."""
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"export.formats = {unknown}: must be of {', '.join(FORMATS)}")
    name = prefix_for(network.scheme, prefix)
    steps, pixels = steps_of(network), dataset.x_test
    packed = packed and bool(packings(steps))
    vectors = golden.vectors(network, pixels[evenly_spaced(len(pixels), images)])
    files = {"golden.npz": golden.to_bytes(vectors)}
    described = manifest.describe(network, steps)
    bundle = Bundle(network, dataset, images, steps, vectors, files, described, name, packed)
    left_out = _add(bundle, formats, strict)
    there = [name for name in formats if name not in left_out]
    text = render(
        "readme.md.j2",
        manifest=described,
        formats=there,
        left_out=left_out,
        folded=network.rounding.folds,
        not_for_tensorrt=described.get("onnx", {}).get(QDQ, {}).get("not_for_tensorrt"),
    )
    bundle.files["README.md"] = text.encode()
    bundle.manifest["files"] = manifest.hashes(bundle.files)
    return bundle.files | {manifest.FILE: manifest.sealed(bundle.manifest)}


def _add(bundle: Bundle, formats: Collection[str], strict: bool) -> dict[str, str]:
    """Add the files of these formats; return why some of them cannot express the network."""
    left_out = {}
    for name in formats:
        try:
            FORMATS[name](bundle)
        except UnsupportedError as error:
            if strict:
                remedy = f"leave {name} out of export.formats, or do without strict"
                raise UnsupportedError(f"{error}; or {remedy}") from None
            left_out[name] = str(error)
    if left_out:
        bundle.manifest[manifest.LEFT_OUT] = left_out
    return left_out


def _add_c99(bundle: Bundle) -> None:
    bundle.files |= sources(bundle.network, bundle.steps, bundle.prefix, bundle.packed)
    memory = sizes(bundle.network, bundle.steps, bundle.packed)
    described = {f"{name}_bytes": size for name, size in memory.items()}
    bundle.manifest["c99"] = described | {"prefix": bundle.prefix, "packed": bundle.packed}


def _add_memory(bundle: Bundle) -> None:
    images = memory_images.images(bundle.network, bundle.steps, bundle.vectors, bundle.packed)
    bundle.files |= {image.file: image.text.encode() for image in images}
    bundle.manifest["memory"] = {
        "golden_images": len(bundle.vectors["pixels"]),
        "packing": "one two's-complement word a line, hexadecimal, the last index runs fastest",
        "packed": bundle.packed,
        "input": {i.role: i.describe() for i in images if i.layer is None},
    }
    files = {i.layer: i.file for i in images if i.role == "output"}
    files[graph.IMAGE] = f"{memory_images.GOLDEN}/input.hex"
    for layer, step in zip(bundle.manifest["layers"], bundle.steps, strict=True):
        own = {i.role: i.describe() for i in images if i.layer == layer["index"]}
        inputs = [files[source] for source in step.sources]
        layer["memory"] = {"input": inputs if len(inputs) > 1 else inputs[0]} | own


def _add_course(bundle: Bundle) -> None:
    images = course.images_by_class(bundle.dataset, bundle.images)
    tensors = course.tensors(bundle.steps)
    bundle.files[course.WEIGHTS] = course.weights(tensors)
    bundle.files[course.INPUTS] = course.inputs(images, bundle.dataset.classes)
    bundle.manifest["course"] = {
        course.WEIGHTS: course.describe_weights(tensors, bundle.network.rounding),
        course.INPUTS: course.describe_inputs(images),
    }


def _add_onnx(
    file: str, to_model: Callable[[IntegerNetwork], onnx.ModelProto]
) -> Callable[[Bundle], None]:
    def add(bundle: Bundle) -> None:
        model = to_model(bundle.network)
        bundle.files[file] = model.SerializeToString(deterministic=True)
        metadata = {item.key: item.value for item in model.metadata_props}
        bundle.manifest.setdefault("onnx", {})[file] = metadata

    return add


FORMATS: dict[str, Callable[[Bundle], None]] = {
    "c99": _add_c99,
    "memory": _add_memory,
    "course": _add_course,
    "onnx": _add_onnx("network.onnx", to_onnx),
    "qdq": _add_onnx(QDQ, to_qdq_onnx),
    "qonnx": _add_onnx("network.qonnx.onnx", to_qonnx),
}
