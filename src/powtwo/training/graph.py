"""Steps of one launch each: a CUDA graph that holds a whole step.

A GPU that is asked for a step's hundreds of small kernels one by one waits for most of the time. A
CUDA graph launches them at once (source 1), on the same memory each time. So everything that a step
reads lies in tensors that stay where they are: images, labels, learning rates and shares of the
average of the next `BLOCK` steps. A counter on the device picks the row of a step. Augmentation,
which depends on nothing that a step changes, is made for a block of steps at once.

Long runs compile the network and its loss as well, which fuses batch norms, ReLUs, poolings, casts
and the loss (source 2). Compiled code is kept in PyTorch's cache for later runs.

Sources:
1. CUDA graphs: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
2. torch.compile: Ansel et al. 2024, https://doi.org/10.1145/3620665.3640366
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from powtwo.dataset.normalization import Normalization
from powtwo.training import devices
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentParams
from powtwo.training.trainer import Trainer

BLOCK = 16  # steps whose images are augmented at once and wait on the device
WARM_UP = 3  # steps before a capture, in which libraries choose kernels and allocate
# On an H200, compiling took some 30 seconds at first, and saved 0.46 ms of a step of 128 images
# and 0.66 of one of 256 (docs/gpu.json): 45,000 to 65,000 steps pay for it.
COMPILE_FROM = 50_000  # steps of a run


class StaticSteps:
    """Steps on memory that stays where it is; without `capture` they are eager, on any device."""

    kind = "static"

    def __init__(
        self,
        trainer: Trainer,
        images: TrainingImages,
        labels: Tensor,
        normalization: Normalization,
    ) -> None:
        """Train on `images` and their labels (M,), which lie on the trainer's device."""
        self._trainer, self._images, self._labels = trainer, images, labels
        self._normalization = normalization
        device = trainer.device
        # The fused optimizers of a GPU want float32; on a CPU a number is one of Python.
        self._float = torch.float32 if device.type == "cuda" else torch.float64
        self._block: tuple[Tensor, ...] = ()  # pixels, labels, rate and share of each step
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._rows = torch.arange(BLOCK, device=device).unsqueeze(1)
        self._log = torch.zeros(BLOCK, 3, device=device)
        self._launch: Callable[[], None] = self._step

    def __call__(self, draws: AugmentParams, rates: Sequence[float], _title: str) -> Tensor:
        """Take a step for each rate; see `EagerSteps`."""
        device, shares = self._trainer.device, self._trainer.next_shares(len(rates))
        moved = AugmentParams(*(field.to(device) for field in draws))
        numbers = torch.tensor([rates, shares], dtype=self._float).to(device)
        log = []
        for start in range(0, len(rates), BLOCK):
            part = slice(start, start + BLOCK)
            steps = len(rates[part])
            self._fill(AugmentParams(*(field[part] for field in moved)), numbers[:, part])
            for _ in range(steps):
                self._launch()
            log.append(self._log[:steps].clone())
        return torch.cat(log)

    def capture(self, draws: AugmentParams) -> None:
        """Record a step as a CUDA graph; `draws` are of an epoch, for the shapes alone.

        Raises:
            RuntimeError: where CUDA or the compiler cannot; the trainer is then as it was.
        """
        first = AugmentParams(*(field[:1].to(self._trainer.device) for field in draws))
        self._fill(first, torch.zeros(2, 1, dtype=self._float, device=self._trainer.device))
        self._launch = captured(self._step, self._trainer)

    def _fill(self, draws: AugmentParams, numbers: Tensor) -> None:
        """Have the first rows of the block be these steps, and the next step the first of them."""
        steps, images = draws.rows.shape
        together = AugmentParams(*(field.flatten(0, 1) for field in draws))
        pixels = self._images.batch(together).permute(0, 2, 3, 1)  # (steps · N, H, W, C)
        filled = (pixels.view(steps, images, *pixels.shape[1:]), self._labels[draws.rows], *numbers)
        if not self._block:
            self._block = tuple(part.new_zeros(BLOCK, *part.shape[1:]) for part in filled)
        for block, part in zip(self._block, filled, strict=True):
            block[:steps].copy_(part)
        self._row.zero_()

    def _step(self) -> None:
        pixels, labels, rate, share = (
            part.index_select(0, self._row).squeeze(0) for part in self._block
        )
        x = self._normalization(pixels.permute(0, 3, 1, 2))  # (N, C, H, W), channels last
        measured = self._trainer.update(x, labels, rate, share)
        self._log.copy_(torch.where(self._rows == self._row, measured, self._log))
        self._row.add_(1)


def capture_steps(steps: StaticSteps, trainer: Trainer, draws: AugmentParams, total: int) -> bool:
    """Capture steps, compiled where a run has `total` steps enough; say on stderr why not.

    Raises:
        torch.OutOfMemoryError: where the GPU's memory does not suffice.
    """
    worth_it = total >= COMPILE_FROM and devices.may_compile()
    for compiled in [True, False] if worth_it else [False]:
        trainer.measure = trainer.forward
        if compiled:
            trainer.measure = torch.compile(trainer.forward, fullgraph=True, dynamic=False)
        try:
            steps.capture(draws)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways, none of which ends a training
            what = "compiled" if compiled else "captured as a CUDA graph"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"train: steps are not {what}: {reason}", file=sys.stderr, flush=True)
        else:
            steps.kind = "captured, compiled" if compiled else "captured"
            return True
    return False


def captured(step: Callable[[], None], trainer: Trainer) -> Callable[[], None]:
    """Return what launches `step` as one graph; the trainer's state stays what it is."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with undone(trainer), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice of the compiler, such as to use TF32
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, stream=side):  # records, and computes nothing
        step()
    return graph.replay


@contextmanager
def undone(trainer: Trainer) -> Iterator[None]:
    """Undo the steps of the block, in place, also where it fails."""
    before = copy.deepcopy(trainer.state())
    try:
        yield
    finally:
        trainer.undo(before)
