"""The device that trains: made ready for the same bytes each time, and asked how much it holds.

Sources:
1. What makes CUDA repeat itself: https://pytorch.org/docs/stable/notes/randomness.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class BatchError(ValueError):
    """A step asks for more memory than there is."""


def prepare(name: str, index: int = 0) -> torch.device:
    """Make `train.device` ready; `index` is which GPU of this machine.

    Raises:
        ValueError: where that is a GPU and there is none.
    """
    if name != "cuda":
        return torch.device(name)
    if not torch.cuda.is_available():
        raise ValueError("train.device = 'cuda': no GPU is visible to PyTorch; use cpu")
    # cuBLAS reads it when it first computes, and without it adds up in any order (source 1).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Training computes in bfloat16; what stays in float32 is there to be exact, and TF32, which
    # cuDNN uses unless told not to, keeps only ten bits of it.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def precision(name: str, device: torch.device) -> str:
    """Return what `train.precision` means there: `auto` is bfloat16 where it is fast.

    A CPU without AVX-512 has no kernels for it: PyTorch then convolves in single loops, a hundred
    times as slow as in float32.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-untyped-call]
    return "bfloat16" if fast else "float32"


def describe(name: str) -> str:
    """Name the processor, on which the bytes of the weights depend."""
    if name == "cuda" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return torch.backends.cpu.get_cpu_capability()


def within_memory(work: Callable[[], T], attempt: Callable[[int], object], batch_size: int) -> T:
    """Return what `work` returns; where memory runs out, say how many images would fit.

    Args:
        work: what takes steps of `batch_size` images.
        attempt: takes one step of as many images as it is given; its effect is lost.
        batch_size: images a step.

    Raises:
        BatchError: where memory ran out, of a GPU or of the machine.
    """
    try:
        return work()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Only out here has the error let go of the tensors that it held on to.
    fits = largest_that_fits(attempt, batch_size)
    remedy = f"{fits} would fit; lower it" if fits else "not even 1 would fit; use a larger device"
    raise BatchError(
        f"train.batch_size = {batch_size}: a step of {batch_size} images does not fit into memory; "
        f"{remedy}"
    )


def largest_that_fits(attempt: Callable[[int], object], batch_size: int) -> int:
    """Return the first of batch_size / 2, / 4, … that does not run out of memory, or 0."""
    while batch_size := batch_size // 2:
        torch.cuda.empty_cache()  # does nothing where CUDA is not in use
        try:
            attempt(batch_size)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        else:
            return batch_size
    return 0


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Recognize both: CUDA has a class for it, the CPU's allocator a sentence."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
