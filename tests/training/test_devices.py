"""What a device is called and computes in, and what is said when its memory runs out."""

from __future__ import annotations

import pytest
import torch

from powtwo.training import devices

MESSAGES = {
    "cpu": "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
    "cublas": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cudnn": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cudnn 9": "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "driver": "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to …",
}
KINDS = ["cuda", *MESSAGES]


def out_of_memory(kind: str) -> RuntimeError:
    if kind == "cuda":
        return torch.OutOfMemoryError("CUDA out of memory.")
    return RuntimeError(MESSAGES[kind])


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fits", "said"), [(300, "256 would fit; lower it"), (0, "not even 1 would fit")]
)
def test_a_batch_too_large_names_what_would_fit(kind: str, fits: int, said: str) -> None:
    tried = []

    def attempt(images: int) -> None:
        tried.append(images)
        if images > fits:
            raise out_of_memory(kind)

    with pytest.raises(
        devices.BatchError, match=rf"train\.batch_size = 1024: .*; {said}"
    ) as caught:
        devices.within_memory(lambda: attempt(1024), attempt, 1024)
    assert tried == ([1024, 512, 256] if fits else [1024 >> n for n in range(11)])
    assert caught.value.__context__ is None  # it would hold on to the tensors of the failed step


def test_what_would_fit_has_equal_shares_for_all_processes() -> None:
    tried = []

    def attempt(images: int) -> None:
        tried.append(images)
        if images > 4:
            raise out_of_memory("cuda")

    with pytest.raises(devices.BatchError, match=r"batch_size = 20: .*; 4 would fit"):
        devices.within_memory(lambda: attempt(20), attempt, 20, processes=4)
    assert tried == [20, 8, 4]


def test_other_errors_pass() -> None:
    def fails(_: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        devices.within_memory(lambda: fails(8), fails, 8)
    with pytest.raises(RuntimeError, match="a bug"):
        devices.largest_that_fits(fails, 8)


def test_what_fits_passes() -> None:
    assert devices.within_memory(lambda: "done", lambda _: None, 8) == "done"


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_batch_size_makes_smaller_is_named(kind: str) -> None:
    with (
        pytest.raises(devices.MemoryShortError, match=r"train\.device: .* does not hold 3 images"),
        devices.memory_for("3 images"),
    ):
        raise out_of_memory(kind)
    with pytest.raises(RuntimeError, match="a bug"), devices.memory_for("3 images"):
        raise RuntimeError("a bug")
