"""Parts of `benchmarks/gpu.sh` that need PyTorch, a process each; the last line is JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from powtwo.core.machine import processor
from powtwo.core.stages import repeatable
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.engine.base import Engine
from powtwo.engine.choose import make
from powtwo.engine.floats import Float
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.network.architecture import Architecture
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentSampler
from powtwo.training.graph import StaticSteps
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS
from powtwo.training.steps import EagerSteps
from powtwo.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
LAB = Architecture((32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 128), 10)
STEPS = 64  # of each measurement
BATCH, TURNS, IMAGES_PER_SECOND = 1000, 7, 200_000  # of the engines; the last is the goal
REFERENCE_IMAGES, ENGINE_IMAGES = 4, 1000  # compared with the reference, and with a CPU's engine
# Kernels of convolutions and matrix products; what torch.compile made is named triton_….
MATRIX = re.compile(r"(?!triton_).*(gemm|nvjet|cutlass|xmma|wgrad|dgrad|fprop|conv2d|splitk)", re.I)
MATRIX_ON_CPU = re.compile(r"aten::(mkldnn_convolution|convolution_backward|addmm|mm)$")


def machine() -> dict[str, Any]:
    """Say what this runs on."""
    gpu = torch.cuda.is_available()
    return {
        "processor": processor(), "cpus": os.cpu_count(), "system": platform.platform(),
        "python": platform.python_version(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "gpu_memory_mb": torch.cuda.get_device_properties(0).total_memory >> 20 if gpu else None,
    }  # fmt: skip


def profile(params: str) -> dict[str, Any]:
    """Measure a step of each kind, and what share of the device's time is matrix work."""
    recipe = Train.model_validate(yaml.safe_load(Path(params).read_text("utf-8"))["train"])
    repeatable(0, recipe.threads)
    return {kind: _measure_steps(recipe, kind) for kind in ("eager", "captured", "compiled")}


def _measure_steps(recipe: Train, kind: str) -> dict[str, Any]:
    device = recipe.device
    on_gpu, steps = device == "cuda", STEPS if device == "cuda" else 2
    if kind != "eager" and not on_gpu:
        return {"error": "needs a GPU"}
    trainer = Trainer(LAB.build().train(), recipe)
    count = steps * recipe.batch_size
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    source = TrainingImages(images, recipe.augment, trainer.device)
    labels = torch.randint(0, 10, (count,), device=device)
    parts = (trainer, source, labels, Normalization("dyadic"))
    draws = AugmentSampler(tuple(images.shape), recipe.augment, 0).epoch(
        1, steps, recipe.batch_size
    )
    taken: StaticSteps | EagerSteps = EagerSteps(*parts, SINGLE_PROCESS)
    started = time.perf_counter()
    try:
        if kind != "eager":
            taken = static = StaticSteps(*parts)
            if kind == "compiled":
                trainer.measure = torch.compile(trainer.forward, fullgraph=True, dynamic=False)
            static.capture(draws)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
    prepared = time.perf_counter() - started

    def run() -> None:
        taken(draws, [0.01] * steps, "profile")
        if on_gpu:
            torch.cuda.synchronize()

    run()
    seconds = min(_timed(run) for _ in range(3)) / steps
    with torch.profiler.profile() as profiled:
        run()
    return {
        "prepare_seconds": round(prepared, 2), "ms_per_step": round(1e3 * seconds, 3),
        "images_per_second": round(recipe.batch_size / seconds),
        **_kernels(profiled, on_gpu, steps),
    }  # fmt: skip


def _kernels(profiled: torch.profiler.profile, on_gpu: bool, steps: int) -> dict[str, Any]:
    wanted = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    events = [event for event in profiled.key_averages() if event.device_type == wanted]
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = {event.key: getattr(event, attribute) for event in events}
    total, pattern = sum(spent.values()) or 1, MATRIX if on_gpu else MATRIX_ON_CPU
    matrix = sum(time_ for name, time_ in spent.items() if pattern.match(name))
    others = sorted((name for name in spent if not pattern.match(name)), key=spent.__getitem__)
    return {
        "other_than_matrix_share": round(1 - matrix / total, 3),
        "busy_ms_per_step": round(total / 1e3 / steps, 3),
        "kernels_per_step": round(sum(event.count for event in events) / steps),
        "largest_others": {name[:70]: round(spent[name] / total, 3) for name in others[:-7:-1]},
    }


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def engines(dataset: str, device: str) -> dict[str, Any]:
    """Compare every published network in every rounding mode, and measure the first."""
    pixels = torch.from_numpy(Dataset.load(dataset).x_test)
    compared = {}
    for path, network in _published():
        for rounding in Rounding:
            other = replace(network, rounding=rounding)
            engine = make(other, "gpu", device)
            compared[f"{path.parent.name} {rounding}"] = _equal(engine, other, pixels)
    speeds = _speeds(network, pixels, device)
    return speeds | {"all_equal": all(compared.values()), "equal": compared,
                     "chosen": make(network).name}  # fmt: skip


def _published() -> Iterator[tuple[Path, IntegerNetwork]]:
    for path in sorted(ROOT.glob("results/*/*.safetensors")):
        yield path, IntegerNetwork.load(path)


def _equal(engine: Engine, network: IntegerNetwork, pixels: torch.Tensor) -> bool:
    few, many = pixels[:REFERENCE_IMAGES], pixels[:ENGINE_IMAGES]
    pairs = zip(engine.outputs(few), network.outputs(few), strict=True)
    return all(torch.equal(ours, right) for ours, (_, right) in pairs) and torch.equal(
        engine.logits(many, BATCH), Float(network).logits(many)
    )


def _speeds(network: IntegerNetwork, pixels: torch.Tensor, device: str) -> dict[str, Any]:
    engine, on_gpu = make(network, "gpu", device), device == "cuda"
    size, calls, turns = (BATCH, 10, TURNS) if on_gpu else (8, 1, 1)
    batch = pixels[:1].expand(size, *pixels.shape[1:]).contiguous()
    result: dict[str, Any] = {"batch": size}
    for name, there in (("from_host", batch), ("on_device", batch.to(device))):

        def run(there: torch.Tensor = there) -> None:
            for _ in range(calls):
                engine.logits(there, size)
            if on_gpu:
                torch.cuda.synchronize()

        run()
        seconds = statistics.median(_timed(run) for _ in range(turns)) / calls
        result[f"images_per_second_{name}"] = round(size / seconds)
    result["reaches_goal"] = result["images_per_second_on_device"] >= IMAGES_PER_SECOND
    return result


if __name__ == "__main__":
    part, *arguments = sys.argv[1:]
    measure = {"machine": machine, "profile": profile, "engines": engines}[part]
    with torch.inference_mode(part == "engines"):
        print(json.dumps(measure(*arguments)))
