"""Training speed: ours, with augmentation on, beside the bare step and the plain loop.

Three ways to train the lab's network take turns, so that a busy machine slows all three alike:

- ours: the recipe of the preset cifar10 with every augmentation on, on the device, channels last,
  images as bytes until used, bfloat16 where that is fast; random numbers are drawn in each turn
- bare: the same step again and again on one batch that lies ready; no augmentation at all
- plain: FP32, NCHW, the same augmentations by torchvision's transforms on PIL images in a
  DataLoader. It has no workers: they would prepare batches while the others have their turn, and 2
  cores have none to spare for them. On a CPU it has a process of its own, without the settings of
  memory that `inv bench` makes, as a script started by hand has none

Every ratio is the median over the turns. On a GPU each turn waits for what it started; `--device
cuda` also gives the most memory that all ways together had; that of a training is in
`logs/train.json`. A last turn of ours runs under PyTorch's profiler, which says what share of its
time the device spends on matrix work. The last line is one JSON object. `--keep` adds a row to
docs/speed.csv, which `inv docs` turns into the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from powtwo.core.stages import repeatable
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import presets, torchvision_import
from powtwo.tools.docs import benchmarks
from powtwo.tools.docs.benchmarks import TrainRow
from powtwo.training import devices
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentSampler
from powtwo.training.params import Augment, Train
from powtwo.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
LAB = Architecture((32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 128), 10)
DYADIC = Normalization("dyadic")
IMAGES = 10_000  # random ones: speed does not depend on what they show
RATE = 0.01
ALL_ON = Augment(
    crop=4, padding="reflect", flip="random", rotation=15.0, erasing=0.3,
    erasing_scale=[0.02, 0.1], cutout=8,
)  # fmt: skip
# Operators whose own time is that of convolutions and matrix products, on a CPU and on a GPU.
MATRIX_WORK = {"aten::mkldnn_convolution", "aten::cudnn_convolution", "aten::convolution_backward",
               "aten::addmm", "aten::mm"}  # fmt: skip
FOR_PROGRAMS = ("vs_bare_step", "vs_plain_loop", "augment_share", "other_than_matrix_share")
Way = Callable[[], object]
T = TypeVar("T")


def main() -> None:
    options = _options()
    with one_line_errors("train"):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Take turns, and report.

    Raises:
        ValueError: where the device is not there, or a step wants more images than there are.
    """
    if not 0 < options.batch_size <= IMAGES:
        raise ValueError(
            f"--batch-size = {options.batch_size}: there are {IMAGES} images; use 1 to {IMAGES}"
        )
    repeatable(0, options.threads)  # as the stage
    device = devices.prepare(options.device)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (IMAGES,))
    # A GPU is given steps ahead of what it does, as in training; waiting for each would stall it.
    steps = options.steps or (1 if device.type == "cpu" else IMAGES // options.batch_size)
    ways = _ways(images, labels, (steps, options.batch_size), device)
    seconds = _take_turns(ways, options.turns, steps, device)
    row = _row(seconds, _other_share(ways["ours"], steps, device), options, device)
    _report(seconds, row, device)
    if options.keep:
        benchmarks.add(options.keep, row)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the speed of training.")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step")
    parser.add_argument("--turns", type=int, default=15, help="turns of each way")
    parser.add_argument("--steps", type=int, help="steps a turn; 1 on a CPU, an epoch on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what trains")
    parser.add_argument("--keep", type=Path, nargs="?", const=ROOT / "docs/speed.csv",
                        metavar="FILE", help="add a row to docs/speed.csv, or to FILE")  # fmt: skip
    return parser.parse_args()


def _ways(
    images: Tensor, labels: Tensor, turn: tuple[int, int], device: torch.device
) -> dict[str, Way]:
    """Make one function a way, each taking one step; `augment` is the part of ours before it.

    `turn` is the steps of a turn and the images of a step.
    """
    recipe, (steps, batch_size) = _recipe(device.type), turn
    source = TrainingImages(images, recipe.augment, device)
    sampler = AugmentSampler(tuple(images.shape), recipe.augment, 0)
    # Drawn for the steps of each turn, so that no turn is cheaper than another.
    steps = min(steps, IMAGES // batch_size)
    draws = _endless(lambda: sampler.epoch(1, steps, batch_size).steps(device))
    bare, ours = (Trainer(LAB.build().train(), recipe) for _ in range(2))
    ready = DYADIC(images[:batch_size].contiguous(memory_format=torch.channels_last)).to(device)
    labels = labels.to(device)

    def augment() -> tuple[Tensor, Tensor]:
        drawn = next(draws)
        return DYADIC(source.batch(drawn)), labels[drawn.rows]

    return {
        "bare": lambda: bare.step(ready, labels[:batch_size], RATE),
        "ours": lambda: ours.step(*augment(), RATE),
        "augment": augment,
        "plain": (_apart if device.type == "cpu" else _plain)(
            images, labels.cpu(), batch_size, recipe, device
        ),
    }


def _recipe(device: str) -> Train:
    recipe = presets.parameters("cifar10", ROOT / "params.yaml", ROOT / "presets").train
    return recipe.model_copy(update={"augment": ALL_ON, "precision": "auto", "device": device})


def _apart(
    images: Tensor, labels: Tensor, batch_size: int, recipe: Train, device: torch.device
) -> Way:
    """Have the plain loop in a process whose memory is kept no better than that of any script."""
    settings = os.environ.pop("GLIBC_TUNABLES", None)  # read as a process starts
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    loop = (images, labels, batch_size, recipe, device)
    spawn.Process(target=_serve, args=(there, torch.get_num_threads(), loop), daemon=True).start()
    there.close()  # here alone, so that its end is seen
    if settings is not None:
        os.environ["GLIBC_TUNABLES"] = settings

    def step() -> None:
        here.send("step")
        here.recv()

    return step


def _serve(there: Connection, threads: int, loop: tuple[Any, ...]) -> None:
    """Take a step of the plain loop whenever asked, until the process that asks ends."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = _plain(*loop)
    with contextlib.suppress(EOFError):  # the other end is gone, and with it the need for steps
        while there.recv():
            step()
            there.send("done")


def _plain(
    images: Tensor, labels: Tensor, batch_size: int, recipe: Train, device: torch.device
) -> Way:
    """Make the loop of most tutorials."""
    torchvision_import.import_torchvision()
    from torchvision import transforms  # noqa: PLC0415

    to_pil = transforms.ToPILImage()
    pictures = [to_pil(image) for image in images]
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(15),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            transforms.RandomErasing(0.3, (0.02, 0.1)),
            transforms.RandomErasing(1.0, (1 / 16, 1 / 16), (1.0, 1.0)),  # a square of 8 pixels
        ]
    )

    class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return transform(pictures[index]), int(labels[index])

    loader = torch.utils.data.DataLoader(Pictures(), batch_size, shuffle=True, drop_last=True)
    batches = _endless(lambda: loader)
    network = LAB.build().train().to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        RATE,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )

    def step() -> None:
        x, y = (part.to(device) for part in next(batches))
        optimizer.zero_grad()
        F.cross_entropy(network(x), y, label_smoothing=recipe.label_smoothing).backward()
        optimizer.step()

    return step


def _endless(epoch: Callable[[], Iterable[T]]) -> Iterator[T]:
    while True:
        yield from epoch()


def _take_turns(
    ways: dict[str, Way], turns: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds a step of each turn, after one turn that only warms up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(steps):
                way()
            wait()
            if turn:
                seconds[name].append((time.perf_counter() - started) / steps)
    return seconds


def _other_share(way: Way, steps: int, device: torch.device) -> float:
    """Return the share of the device's busy time that is not matrix work."""
    with torch.profiler.profile() as profile:
        for _ in range(steps):
            way()
    on_gpu = device.type == "cuda"
    spent = [
        (operator.key, operator.self_device_time_total if on_gpu else operator.self_cpu_time_total)
        for operator in profile.key_averages()
        if operator.device_type == torch.autograd.DeviceType.CPU  # what ran kernels, and not these
    ]
    matrix = sum(time for key, time in spent if key in MATRIX_WORK)
    return round(1 - matrix / sum(time for _, time in spent), 4)


def _row(
    seconds: dict[str, list[float]],
    other_share: float,
    options: argparse.Namespace,
    device: torch.device,
) -> TrainRow:
    """Sum the turns up."""

    def ratio(over: str, under: str) -> float:
        pairs = zip(seconds[over], seconds[under], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 4)

    return TrainRow(
        devices.describe(device.type),
        devices.precision("auto", device),
        options.threads,
        str(torch.__version__),
        options.batch_size,
        platform.libc_ver()[0] == "glibc" and bool(os.environ.get("GLIBC_TUNABLES")),
        options.turns,
        round(options.batch_size / statistics.median(seconds["ours"])),
        ratio("bare", "ours"),
        ratio("plain", "ours"),
        ratio("augment", "ours"),
        other_share,
    )


def _report(seconds: dict[str, list[float]], row: TrainRow, device: torch.device) -> None:
    """Print a table for people and, last, JSON for programs."""
    print(
        f"{row.processor}, {row.precision}, {row.threads} threads, "
        f"batch {row.batch_size}, torch {row.torch}"
    )
    print(f"{'way':<8} {'ms/step':>8} {'images/s':>9}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<8} {1e3 * median:8.1f} {row.batch_size / median:9.0f}")
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device) / 2**20
        print(f"at most {most:.0f} MB on the GPU, with all ways' networks there")
    print(json.dumps({name: getattr(row, name) for name in FOR_PROGRAMS}, sort_keys=True))


if __name__ == "__main__":
    main()
