"""What a device is called and computes in, and what is said when its memory runs out."""

from __future__ import annotations

import pytest
import torch

from powtwo.sidecar.one_line import one_line_errors
from powtwo.training import devices

MESSAGES = [  # of what has no exception of its own, and of what has
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to …",  # of the driver
    "CUDA out of memory.",
]


@pytest.mark.parametrize(
    ("machine", "kernels", "instructions", "expected"),
    [
        ("x86_64", True, True, "bfloat16"),
        ("AMD64", True, False, "float32"),  # AVX-512 as of 2017: its kernels convert
        ("x86_64", False, False, "float32"),
        ("aarch64", True, False, "bfloat16"),
        ("arm64", False, False, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, kernels: bool, instructions: bool, expected: str
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: kernels)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    assert devices.precision("auto", cpu) == expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert devices.precision("auto", cpu) == "float32"
    assert [devices.precision(name, cpu) for name in ("bfloat16", "float32")] == [
        "bfloat16", "float32"
    ]  # fmt: skip


def test_auto_is_not_bfloat16_where_a_gpu_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert devices.precision("auto", torch.device("cuda")) == "float32"


@pytest.mark.parametrize(
    ("name", "tiles", "expected"),
    [
        ("AMD EPYC", False, "AMD EPYC (AVX512)"),
        ("Intel Xeon", True, "Intel Xeon (AVX512 and AMX)"),
        (None, False, "x86_64 (AVX512)"),
    ],
)
def test_a_processor_is_described_by_name_and_instructions(
    monkeypatch: pytest.MonkeyPatch, name: str | None, tiles: bool, expected: str
) -> None:
    monkeypatch.setattr(devices, "processor", lambda: name)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(variable, raising=False)
    assert devices.describe("cpu") == expected
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.setenv(variable, "AVX2")
        assert devices.describe("cpu") == expected[:-1] + ", held to AVX2)"


@pytest.mark.parametrize("message", MESSAGES)
def test_memory_that_runs_out_is_said_in_one_line_with_its_remedy(
    capsys: pytest.CaptureFixture[str], message: str
) -> None:
    with pytest.raises(SystemExit), one_line_errors("train"):
        raise RuntimeError(message)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train: out of memory (")
    assert "; lower batch_size, or use a larger machine" in line
