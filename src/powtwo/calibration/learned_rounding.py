"""Learned rounding: each weight's code by the error of its layer's output, not by its own.

For a layer with inputs x and wanted outputs y, and a row c of integer codes,

    E(c) = Σ (y − c·x)² = c·H·c − 2 c·g + Σ y²        H = Σ x·xᵀ   g = Σ y·x

Rounding to nearest minimizes (w − c)² and is blind to H. AdaRound (source 1, eq. 13) starts from
this quadratic, layer by layer, relaxes the choice between floor and ceiling to a sigmoid, and
descends its gradient in floating point, which no two machines do alike. Here the same quadratic is
descended on the codes themselves, one coordinate at a time (sources 2 and 3): with all others held,
the best code is the allowed one that is closest to c_k − (H c − g)_k / H_kk. It is not AdaRound's
optimizer, takes no step back, ends in a local minimum, and leaves ReLU out of the error. In return
all is integers: x and y are codes, every sum stays below 2^53, and float64 holds it exactly in any
order. So the codes are the same on every machine, to the last bit.

Sources:
1. AdaRound: Nagel et al. 2020, https://arxiv.org/abs/2004.10568, §3
2. Coordinate descent on this quadratic: QuantEase, Behdin et al. 2023,
   https://arxiv.org/abs/2309.01885; COMQ, Zhang et al. 2024, https://arxiv.org/abs/2403.07134
3. Damping, columns by descending H_kk, lazy updates by block: GPTQ, Frantar et al. 2022,
   https://arxiv.org/abs/2210.17323, §3
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from powtwo.integer.fixedpoint import FLOAT64_EXACT

DAMPING = 0.01  # of the mean H_kk, times (w − c)²: holds weights that few inputs speak for
SWEEPS = 8  # over all weights of a layer, at most; later ones gain next to nothing
BLOCK = 64  # columns between two updates of all others


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over samples of a layer's inputs x (K,) and wanted outputs y (O,), all integers."""

    count: int
    inputs: Tensor  # Σ x, float64 (K,)
    outputs: Tensor  # Σ y, (O,)
    gram: Tensor  # H = Σ x·xᵀ, (K, K)
    cross: Tensor  # g = Σ y·xᵀ, (O, K)
    energy: Tensor  # Σ y², (O,); for reports, and only near where it passes 2^53

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Sum over samples: integers x (N, K) and y (N, O), of any type."""
        x, y = x.double(), y.double()
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, y.T @ x, y.square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of samples together."""
        return Moments(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    @property
    def exact(self) -> bool:
        """Tell whether H and g cannot have passed 2^53 on the way: |Σ x·y|² ≤ Σ x² · Σ y²."""
        squares = self.gram.diagonal().max()
        bound = squares * self.energy.max()  # of |Σ x·y|²; roots go by the processor, under MKL
        # The energy itself may be rounded.
        return bool((squares < FLOAT64_EXACT) & (bound < (FLOAT64_EXACT / 2) ** 2))

    def centered(self) -> Moments:
        """Return the sums about the means, rounded to integers: for a bias that follows the mean.

        With the best bias for given codes, the error that is left is that of x − E x, y − E y.

        Raises:
            ValueError: where a sum would pass 2^53, and so depend on its order.
        """
        if not self.exact:
            raise self.too_large()
        gram = self.gram - torch.round(torch.outer(self.inputs, self.inputs) / self.count)
        cross = self.cross - torch.round(torch.outer(self.outputs, self.inputs) / self.count)
        energy = self.energy - torch.round(self.outputs.square() / self.count)
        return replace(self, gram=gram, cross=cross, energy=energy)

    def too_large(self) -> ValueError:
        """Return what to say where the sums are not exact."""
        return ValueError(
            f"{self.count} samples: their sums reach 2^53 and would depend on their order; "
            "calibrate with fewer images"
        )

    def damped(self, weight: Tensor, damping: float) -> Moments:
        """Add damping · mean H_kk · |w − c|² to the error, for weights (O, K) in steps."""
        squares = self.gram.diagonal()
        amount = max(1.0, round(squares.sum().item() * damping / len(squares)))
        gram = self.gram + amount * torch.eye(len(squares), dtype=torch.float64)
        return replace(self, gram=gram, cross=self.cross + torch.round(amount * weight))

    def error(self, codes: Tensor) -> Tensor:
        """Return Σ (y − c·x)² of each output for codes (O, K)."""
        codes = codes.double()
        return self.energy + (codes * (codes @ self.gram - 2 * self.cross)).sum(1)


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    """Return the level closest to each value; of two as close, the lower."""
    middles = (levels[1:] + levels[:-1]) / 2
    return levels[torch.bucketize(values.contiguous(), middles)]


def learn(
    weight: Tensor, moments: Moments, levels: Tensor, damping: float = DAMPING, sweeps: int = SWEEPS
) -> Tensor:
    """Choose a code for each weight, so that the layer's output error is small.

    Args:
        weight: float64 (O, K), in steps: w / 2^e.
        moments: of the inputs in codes less the zero point, and of the wanted outputs in units of
            the accumulator, without the bias.
        levels: the integer codes that may be used, ascending.
        damping: how much the distance to the weight itself counts.
        sweeps: at most so many; it ends when one changes nothing.

    Returns:
        float64 (O, K) of levels.

    Raises:
        ValueError: where a sum would pass 2^53, and so depend on its order.
    """
    damped = moments.damped(weight, damping)
    # Stable, so that equal columns keep their order on every machine.
    order = torch.argsort(damped.gram.diagonal(), descending=True, stable=True)
    gram, cross = damped.gram[order][:, order].contiguous(), damped.cross[:, order]
    codes = nearest(weight[:, order], levels)
    largest = 2 * levels.abs().max() * gram.abs().sum(1).max() + cross.abs().max()
    if not moments.exact or largest.item() >= FLOAT64_EXACT:
        raise moments.too_large()
    slope = codes @ gram - cross  # half the gradient, (O, K): integers throughout
    with _one_thread():
        for _ in range(sweeps):
            if not _sweep(codes, slope, gram, levels):
                break
    return torch.empty_like(codes).index_copy_(1, order, codes)


def _sweep(codes: Tensor, slope: Tensor, gram: Tensor, levels: Tensor) -> bool:
    """Set every code once to the best while all others are held; tell whether any changed."""
    changed = False
    for start in range(0, codes.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        before, local, near = codes[:, block].clone(), slope[:, block].clone(), gram[block, block]
        for k in range(len(near)):
            old = codes[:, start + k].clone()
            codes[:, start + k] = nearest(old - local[:, k] / near[k, k], levels)
            local += torch.outer(codes[:, start + k] - old, near[k])
        steps = codes[:, block] - before
        if bool(steps.any()):
            slope += steps @ gram[block]
            changed = True
    return changed


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: on thousands of small steps, threads wait more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
