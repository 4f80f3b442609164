"""The device that trains: made ready for the same bytes each time, and asked how much it holds.

Sources:
1. What makes CUDA repeat itself: https://pytorch.org/docs/stable/notes/randomness.html
2. oneDNN, "CPU Dispatcher Control": https://uxlfoundation.github.io/oneDNN/
   dev_guide_cpu_dispatcher_control.html
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from powtwo.core.machine import processor

T = TypeVar("T")
# What says that memory ran out without a class of its own: the CPU's allocator, cuBLAS and cuDNN.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: out of memory",  # of the driver, as where another program has filled the GPU
)
_X86 = {"x86_64", "AMD64"}
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # the newer name and the older (source 2)


class BatchError(ValueError):
    """A step asks for more memory than there is."""


class MemoryShortError(ValueError):
    """Something that no parameter makes smaller asks for more memory than there is."""


def prepare(name: str, index: int = 0) -> torch.device:
    """Make `train.device` ready; `index` is which GPU of this machine.

    Raises:
        ValueError: where that is a GPU and there is none, or none for this process.
    """
    check(name, index)
    if name != "cuda":
        return torch.device(name)
    # cuBLAS reads it when it first computes, and without it adds up in any order (source 1).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Training computes in bfloat16; what stays in float32 is there to be exact, and TF32, which
    # cuDNN uses unless told not to, keeps only ten bits of it.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def check(name: str, index: int = 0) -> None:
    """Ask whether there is such a device, and take nothing of it.

    Raises:
        ValueError: as `prepare`.
    """
    if name != "cuda":
        return
    if not torch.cuda.is_available():
        raise ValueError("train.device = 'cuda': no GPU is visible to PyTorch; use cpu")
    if index >= torch.cuda.device_count():
        raise ValueError(
            f"train.processes: process {index} of this host would need GPU {index}, and PyTorch "
            f"sees {torch.cuda.device_count()}; lower it"
        )


def precision(name: str, device: torch.device) -> str:
    """Return what `train.precision` means there: `auto` is bfloat16 where it is fast.

    A CPU without AVX-512 has no kernels for it: PyTorch then convolves in single loops, a hundred
    times as slow as in float32. One that has AVX-512 but not its instructions for bfloat16 has
    kernels that convert to float32 and back.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        # Older GPUs emulate it, which is no faster than float32.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float32"
    kernels = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-untyped-call]
    native = platform.machine() not in _X86 or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if kernels and native else "float32"


def describe(name: str) -> str:
    """Name the processor, on which the bytes of the weights depend.

    Its instructions alone do not tell them: an Intel Xeon held to the instructions of an AMD EPYC,
    by the variable that oneDNN has for it (source 2), has given other ones.
    """
    if name == "cuda" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    # PyTorch counts AMX, by which convolutions in bfloat16 are twice as fast, to no capability.
    tiles = " and AMX" if torch.cpu._is_amx_tile_supported() else ""
    instructions = torch.backends.cpu.get_cpu_capability()
    limits = {os.environ[name] for name in _LIMITS if name in os.environ}
    held = "".join(f", held to {limit}" for limit in sorted(limits))
    return f"{processor() or platform.machine()} ({instructions}{tiles}{held})"


def within_memory(
    work: Callable[[], T], attempt: Callable[[int], object], batch_size: int, processes: int = 1
) -> T:
    """Return what `work` returns; where memory runs out, say how many images would fit.

    Args:
        work: what takes steps of `batch_size` images.
        attempt: takes one step of as many images as it is given; its effect is lost.
        batch_size: images a step.
        processes: that share these images alike.

    Raises:
        BatchError: where memory ran out, of a GPU or of the machine.
    """
    try:
        return work()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Only out here has the error let go of the tensors that it held on to.
    fits = largest_that_fits(attempt, batch_size, processes)
    remedy = f"{fits} would fit; lower it" if fits else "not even 1 would fit; use a larger device"
    raise BatchError(
        f"train.batch_size = {batch_size}: a step of {batch_size} images does not fit into memory; "
        f"{remedy}"
    )


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Say in one line that the device has too little memory for `what`.

    Raises:
        MemoryShortError: where memory ran out in the block.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise MemoryShortError(
            f"train.device: its memory does not hold {what} beside the network; use a larger one"
        ) from None


def largest_that_fits(attempt: Callable[[int], object], batch_size: int, processes: int = 1) -> int:
    """Halve each process's share until memory does not run out; return their sum, or 0."""
    share = batch_size // processes
    while share := share // 2:
        torch.cuda.empty_cache()  # does nothing where CUDA is not in use
        try:
            attempt(share * processes)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        else:
            return share * processes
    return 0


def _is_out_of_memory(error: RuntimeError) -> bool:
    known = any(sign in str(error) for sign in _OUT_OF_MEMORY)
    return known or isinstance(error, torch.OutOfMemoryError)
