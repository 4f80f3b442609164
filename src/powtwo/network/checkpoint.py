"""The trained float network and its file, `models/float.safetensors`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from powtwo.core import tensors
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network and what it expects of its input."""

    architecture: Architecture
    normalization: Normalization
    weights: dict[str, Tensor]

    def network(self) -> nn.Sequential:
        """Build the network with these weights, ready for inference."""
        network = self.architecture.build()
        network.load_state_dict(self.weights)
        return network.eval()

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; architecture and normalization go to its metadata."""
        metadata = {"architecture": asdict(self.architecture), "input": asdict(self.normalization)}
        tensors.write(path, self.weights, metadata)

    @classmethod
    def load(cls, path: Path | str) -> Checkpoint:
        """Read what `save` wrote."""
        metadata, weights = tensors.read(path)
        stored = metadata["architecture"]
        architecture = Architecture(
            tuple(stored["layout"]), tuple(stored["hidden"]), stored["classes"]
        )
        return cls(architecture, Normalization.of_metadata(metadata["input"]), weights)
