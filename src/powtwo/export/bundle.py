"""A whole folder `exports/<scheme>/`: every format, a manifest and a README, or nothing.

All files are made in memory first. The folder is then written beside its place and moved there, so
that a format that fails, or a full disk, leaves what stood there as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from powtwo.core import files as core_files
from powtwo.core.arrays import Arrays
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.export import course, golden, manifest, readme
from powtwo.export.c99 import sources as c99
from powtwo.export.errors import UnsupportedError
from powtwo.export.onnx import integer as onnx_integer
from powtwo.export.onnx import qdq as onnx_qdq
from powtwo.export.onnx import qonnx as onnx_qonnx
from powtwo.export.rtl import memory_images
from powtwo.integer.network import IntegerNetwork


@dataclass(eq=False)
class Bundle:
    """An export under construction: its sources, its files, what the manifest says of them."""

    network: IntegerNetwork
    dataset: Dataset
    images: int  # golden images, and images a class in input.bin
    files: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def vectors(self) -> Arrays:
        """Return the golden vectors of test images, evenly spaced over all of them."""
        pixels = self.dataset.x_test
        return golden.vectors(self.network, pixels[evenly_spaced(len(pixels), self.images)])


def write(
    folder: Path | str,
    network: IntegerNetwork,
    dataset: Dataset,
    images: int,
    formats: Collection[str] | None = None,
) -> None:
    """Write the folder in one move; what was there before is gone.

    Args:
        folder: `exports/<scheme>`.
        network: the network.
        dataset: gives golden images from its test images, `images` of them, evenly spaced.
        images: golden images, and images a class in input.bin.
        formats: names of `FORMATS`; all of them by default.

    Raises:
        UnsupportedError: where a format cannot express the network, naming both.
        ValueError: where a format is unknown.
    """
    files = make(network, dataset, images, tuple(FORMATS) if formats is None else formats)
    with core_files.atomic_folder(Path(folder)) as new:
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def make(
    network: IntegerNetwork, dataset: Dataset, images: int, formats: Collection[str]
) -> dict[str, bytes]:
    """Return every file of the folder by its name; arguments and errors as in `write`."""
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"export.formats = {unknown}: must be of {', '.join(FORMATS)}")
    bundle = Bundle(network, dataset, images)
    bundle.files["golden.npz"] = golden.to_bytes(bundle.vectors)
    bundle.about = manifest.describe(network)
    chosen = [name for name in FORMATS if name in formats]
    for name in chosen:
        _add(bundle, name)
    bundle.files["README.md"] = readme.text(bundle.about, chosen).encode()
    bundle.about["files"] = manifest.hashes(bundle.files)
    return bundle.files | {manifest.FILE: manifest.to_bytes(bundle.about)}


def _add(bundle: Bundle, name: str) -> None:
    try:
        FORMATS[name](bundle)
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}; or leave {name} out of export.formats") from None


def _add_c99(bundle: Bundle) -> None:
    texts = c99.sources(bundle.network)
    bundle.files |= {name: text.encode() for name, text in texts.items()}
    sizes = c99.sizes(bundle.network)
    bundle.about["c99"] = {f"{name}_bytes": size for name, size in sizes.items()}


def _add_memory(bundle: Bundle) -> None:
    images = memory_images.images(bundle.network, bundle.vectors)
    bundle.files |= {image.file: image.text.encode() for image in images}
    bundle.about["memory"] = {
        "golden_images": len(bundle.vectors["pixels"]),
        "packing": "one two's-complement word a line, hexadecimal, the last index runs fastest",
        "input": {i.role: i.describe() for i in images if i.layer is None},
    }
    given = f"{memory_images.GOLDEN}/input.hex"
    for layer in bundle.about["layers"]:
        own = {i.role: i.describe() for i in images if i.layer == layer["index"]}
        layer["memory"] = {"input": given} | own
        given = own["output"]["file"] if own else given  # flattening has no file of its own


def _add_course(bundle: Bundle) -> None:
    network, dataset = bundle.network, bundle.dataset
    bundle.files[course.WEIGHTS] = course.weights(network)
    bundle.files[course.INPUTS] = course.inputs(dataset, bundle.images)
    bundle.about["course"] = {
        course.WEIGHTS: course.describe_weights(network),
        course.INPUTS: course.describe_inputs(network, dataset, bundle.images),
    }


def _add_onnx(
    file: str, to_model: Callable[[IntegerNetwork], onnx.ModelProto]
) -> Callable[[Bundle], None]:
    def add(bundle: Bundle) -> None:
        model = to_model(bundle.network)
        bundle.files[file] = model.SerializeToString(deterministic=True)
        metadata = {item.key: item.value for item in model.metadata_props}
        bundle.about.setdefault("onnx", {})[file] = metadata

    return add


FORMATS: dict[str, Callable[[Bundle], None]] = {
    "c99": _add_c99,
    "memory": _add_memory,
    "course": _add_course,
    "onnx": _add_onnx(onnx_integer.FILE, onnx_integer.to_model),
    "qdq": _add_onnx(onnx_qdq.FILE, onnx_qdq.to_model),
    "qonnx": _add_onnx(onnx_qonnx.FILE, onnx_qonnx.to_model),
}
