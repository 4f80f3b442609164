"""The device that trains: CPU or GPU, made ready to give the same bytes each time.

Sources:
1. What makes CUDA repeat itself: https://pytorch.org/docs/stable/notes/randomness.html
2. oneDNN, "CPU Dispatcher Control": https://uxlfoundation.github.io/oneDNN/
   dev_guide_cpu_dispatcher_control.html
"""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from powtwo.core.machine import processor

_X86 = {"x86_64", "AMD64"}
_ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # newer and older name (source 2)


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
    """Check that there is such a device, and allocate nothing on it.

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

    Its instructions alone are not enough: an Intel Xeon limited to the instructions of an AMD EPYC,
    by the variable that oneDNN has for it (source 2), has given other bytes.
    """
    if name == "cuda" and torch.cuda.is_available():
        compiled = "" if may_compile() else ", nothing compiled"
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}{compiled}"
    # PyTorch's capability leaves out AMX, which makes convolutions in bfloat16 twice as fast.
    amx = " and AMX" if torch.cpu._is_amx_tile_supported() else ""
    instructions = torch.backends.cpu.get_cpu_capability()
    limits = {os.environ[name] for name in _ISA_LIMITS if name in os.environ}
    limited = "".join(f", held to {limit}" for limit in sorted(limits))
    return f"{processor() or platform.machine()} ({instructions}{amx}{limited})"


def may_compile() -> bool:
    """Tell whether PyTorch's own variable lets `torch.compile` compile."""
    return os.environ.get("TORCH_COMPILE_DISABLE", "0") != "1"


def circumstances(name: str, precision_name: str) -> dict[str, Any]:
    """Return for the log of a stage what trained, in what precision and GPU memory (MiB)."""
    return {
        "device": name,
        "device_name": describe(name),
        "precision": precision(precision_name, torch.device(name)),
        "gpu_peak_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if name == "cuda" else None,
    }
