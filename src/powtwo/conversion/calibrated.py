"""The folded network with its exponents: what calibration hands to conversion, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powtwo.conversion import schema
from powtwo.core import strict
from powtwo.core import tensors as tensor_files
from powtwo.core.windows import shortest
from powtwo.integer.layer import ActivationQParams, Exponents, WeightFormat, as_exponents
from powtwo.integer.network import Input
from powtwo.network.folded import FoldedLayer
from powtwo.network.spec import SIDES

PARTS = ("weight", "bias")  # of a layer that are tensors
RARE: dict[str, Any] = {"groups": 1, "inputs": None, "maximum": None}  # there where they differ


@dataclass(frozen=True, eq=False)
class CalibratedLayer:
    """A float layer and the codes that its weights and its output shall have."""

    folded: FoldedLayer
    weight_exponent: Exponents = 0
    weight_format: WeightFormat = WeightFormat()  # noqa: RUF009  # frozen, so safe to share
    output: ActivationQParams | None = None  # None: int32 accumulators, or no output of its own
    adapted: FoldedLayer | None = None  # what becomes integers in place of `folded`, if not it

    @property
    def source(self) -> FoldedLayer:
        """Return the float layer whose weights and bias become integers."""
        return self.adapted or self.folded


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A network for inference, in float64, with all that its conversion needs."""

    classes: tuple[str, ...]
    input: Input
    layers: tuple[CalibratedLayer, ...]

    @property
    def folded(self) -> Sequence[FoldedLayer]:
        """Return the float layers alone."""
        return [layer.folded for layer in self.layers]

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; exponents go to its metadata.

        Raises:
            ValueError: where `load` would refuse the file, and before any of it is written.
        """
        tensors = {}
        for index, layer in enumerate(self.layers):
            for name in PARTS:
                tensor, adapted = getattr(layer.folded, name), getattr(layer.adapted, name, None)
                if tensor is not None:
                    tensors[f"layers.{index}.{name}"] = tensor
                if adapted is not None and adapted is not tensor:
                    tensors[f"layers.{index}.adapted_{name}"] = adapted
        metadata = {
            "classes": self.classes,
            "input": self.input.metadata(),
            "layers": [_describe(layer) for layer in self.layers],
        }
        arrays = tensor_files.to_arrays(tensors)
        schema.validated(tensor_files.as_json(metadata), arrays)
        tensor_files.write(path, arrays, metadata)

    @classmethod
    def load(cls, path: Path | str, stage: str = "calibrate") -> Calibrated:
        """Read what `save` wrote in a stage; nothing is believed.

        Raises:
            ValueError: where the file is no calibrated network, or breaks a rule.
            FileNotFoundError: where there is no such file.
        """
        with strict.refused(path, f"run the {stage} stage again"):
            values, arrays = tensor_files.read(path, "a calibrated network")
            network = schema.validated(values, arrays)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        layers = tuple(_read(i, layer, tensors) for i, layer in enumerate(network.layers))
        return cls(tuple(network.classes), Input.of_metadata(network.input.model_dump()), layers)


def _describe(layer: CalibratedLayer) -> dict[str, Any]:
    plain = [field.name for field in fields(FoldedLayer) if field.name not in PARTS]
    folded = {name: getattr(layer.folded, name) for name in plain}
    return {
        "folded": {
            name: shortest(value) if name in SIDES else value
            for name, value in folded.items()
            if name not in RARE or value != RARE[name]
        },
        "weight_exponent": layer.weight_exponent,
        "weight_format": asdict(layer.weight_format),
        "output": asdict(layer.output) if layer.output else None,
    }


def _read(index: int, layer: schema.Layer, tensors: dict[str, Tensor]) -> CalibratedLayer:
    prefix = f"layers.{index}."
    own = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
    plain = layer.folded.model_dump()
    plain["inputs"] = plain["inputs"] and tuple(plain["inputs"])
    folded = FoldedLayer(**plain, weight=own.get("weight"), bias=own.get("bias"))
    adapted = {name: own[f"adapted_{name}"] for name in PARTS if f"adapted_{name}" in own}
    return CalibratedLayer(
        folded,
        as_exponents(layer.weight_exponent),
        WeightFormat(**layer.weight_format.model_dump()),
        ActivationQParams(**layer.output.model_dump()) if layer.output else None,
        replace(folded, **adapted) if adapted else None,  # type: ignore[arg-type]
    )
