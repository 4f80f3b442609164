"""The trained float network and its file, `models/float.safetensors`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from powtwo.core import strict, tensors
from powtwo.core.tensors import Arrays
from powtwo.dataset.normalization import Normalization
from powtwo.network import schema
from powtwo.network.architecture import AnyArchitecture


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network and what it expects of its input."""

    architecture: AnyArchitecture
    normalization: Normalization
    weights: dict[str, Tensor]

    def network(self) -> nn.Module:
        """Build the network with these weights, ready for inference."""
        network = self.architecture.build()
        network.load_state_dict(self.weights)
        return network.eval()

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; architecture and normalization go to its metadata.

        Raises:
            ValueError: where `load` would refuse the file, and before any of it is written.
        """
        tensors.write(path, *self.check())

    def check(self) -> tuple[Arrays, dict[str, Any]]:
        """Return the tensors and the metadata of the file.

        Raises:
            ValueError: where `load` would refuse the file.
        """
        metadata = {
            "architecture": self.architecture.describe(),
            "input": asdict(self.normalization),
        }
        arrays = tensors.to_arrays(self.weights)
        schema.validated(tensors.as_json(metadata), arrays)
        return arrays, metadata

    @classmethod
    def load(cls, path: Path | str) -> Checkpoint:
        """Read what `save` wrote; nothing is believed.

        Raises:
            ValueError: where the file is no trained network, or breaks a rule.
            FileNotFoundError: where there is no such file.
        """
        with strict.refused(path, "run the train stage again"):
            stored, arrays = tensors.read(path, "a trained network")
            network = schema.validated(stored, arrays)
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        normalization = Normalization.of_metadata(network.input.model_dump())
        return cls(network.architecture.value, normalization, weights)
