"""One scheme, measured on validation images: calibrated, converted and run on integers alone.

The loss is the mean relative entropy of the integer network's class probabilities to the float
network's, in nats. With few images it tells layers apart better than the number of correct ones.

A measurement is a file, named after a digest of all that it depends on: code, float network,
images, scheme. Whoever asks again reads it, so that a search that was killed goes on.

Source: relative entropy as a sensitivity, Cai et al. 2020 (ZeroQ),
https://arxiv.org/abs/2001.00281, §3.2
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor

from powtwo.calibration import exponents
from powtwo.calibration.params import Calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.scratch import scratch
from powtwo.core.stages import code_digests
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.engine.choose import make
from powtwo.evaluation.layer_quality import values
from powtwo.integer import shapes
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.shapes import LayerShape
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import FoldedLayer, logits
from powtwo.network.folding import fold

STAGES = ("calibrate", "convert", "evaluate")  # whose code a measurement depends on
BATCH = 250  # images at a time, for memory alone


@dataclass(frozen=True)
class Measurement:
    """What a scheme does on validation images, and the layers that are priced."""

    images: int
    correct: int
    loss: float  # nats, to 8 digits
    shapes: tuple[LayerShape, ...]

    @property
    def accuracy(self) -> float:
        """Return the fraction of images that the integer network classifies correctly."""
        return self.correct / self.images


@dataclass(frozen=True)
class Refused:
    """Why a scheme has no integer network."""

    reason: str


_FILE: TypeAdapter[Measurement | Refused] = TypeAdapter(Measurement | Refused)


class Measurer:
    """Measures schemes of one float network on the same images.

    Args:
        network: the file of the float network.
        dataset: training images calibrate, validation images measure.
        calibrate: which training images.
        count: of validation images, evenly spaced.
        folder: where measurements are kept.
    """

    def __init__(
        self, network: Path, dataset: Dataset, calibrate: Calibrate, count: int, folder: Path
    ) -> None:
        self.checkpoint = Checkpoint.load(network)
        self.classes, self.batch_size, self.folder = dataset.classes, calibrate.batch_size, folder
        self.calibration = exponents.sample(torch.from_numpy(dataset.x_train), calibrate)
        few = evenly_spaced(len(dataset.y_validation), count)
        self.images = torch.from_numpy(dataset.x_validation)[few]
        self.labels = torch.from_numpy(dataset.y_validation)[few]
        tensors = (self.calibration, self.images, self.labels)
        self._depends = [
            *sorted(digest for stage in STAGES for digest in code_digests(stage).values()),
            _sha256([Path(__file__).read_bytes()]),
            _sha256([network.read_bytes()]),
            *(
                _sha256([repr(tensor.shape).encode(), tensor.numpy().tobytes()])
                for tensor in tensors
            ),
            repr(self.classes),
        ]

    @cached_property
    def layers(self) -> list[FoldedLayer]:
        """The float network's layers."""
        return fold(self.checkpoint.network())

    @cached_property
    def float_logits(self) -> Tensor:
        """The float network's logits of the validation images, float64 (N, classes)."""
        normalize = self.checkpoint.normalization
        batches = torch.split(self.images, BATCH)
        return torch.cat([logits(self.layers, normalize(x, torch.float64)) for x in batches])

    def place(self, scheme: Scheme) -> Path:
        """Return the file that keeps a scheme's measurement; fine-tuning comes later."""
        said = scheme.model_dump_json(exclude={"finetune"})
        return self.folder / f"{_sha256(map(str.encode, [*self._depends, said]))[:32]}.json"

    def kept(self, scheme: Scheme) -> Measurement | None:
        """Return what was measured before.

        Raises:
            ValueError: where the scheme was refused, with the same words.
        """
        try:
            stored = _FILE.validate_json(files.read_text(self.place(scheme)), strict=True)
        except (OSError, ValueError):  # there is none, or it is damaged: it is measured again
            return None
        if isinstance(stored, Refused):
            raise ValueError(stored.reason)
        return stored

    def measure(self, scheme: Scheme) -> Measurement:
        """Return a scheme's measurement, and keep it.

        Raises:
            ValueError: where the network cannot be converted by this scheme.
        """
        if (kept := self.kept(scheme)) is not None:
            return kept
        try:
            network = self._convert(scheme)
        except ValueError as error:
            found: Measurement | Refused = Refused(" ".join(str(error).split()))
        else:
            found = self._run(network)
        files.write_json(self.place(scheme), asdict(found))
        written = self.kept(scheme)  # with the digits that a later search will read
        assert written is not None
        return written

    def _convert(self, scheme: Scheme) -> IntegerNetwork:
        calibrated = exponents.calibrate(
            self.checkpoint, self.classes, self.calibration, scheme, self.batch_size
        )
        return to_integer.convert(calibrated, "search", scheme).network

    def _run(self, network: IntegerNetwork) -> Measurement:
        outputs = make(network).logits(self.images, BATCH).cpu()
        correct = int((outputs.to(torch.int32).argmax(1) == self.labels).sum())
        exact = values(network.last_sums, outputs)
        with scratch(self.folder) as folder:
            network.save(folder / "network.safetensors")
            listed = shapes.read(folder / "network.safetensors")
        loss = relative_entropy(self.float_logits, exact)
        return Measurement(len(self.labels), correct, loss, tuple(listed))


def relative_entropy(reference: Tensor, measured: Tensor) -> float:
    """Return the mean of Σ p·(log p − log q) in nats, of logits float64 (N, classes) each."""
    p, q = torch.log_softmax(reference, 1), torch.log_softmax(measured, 1)
    return float((p.exp() * (p - q)).sum(1).mean())


def _sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
