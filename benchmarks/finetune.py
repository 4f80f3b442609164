"""Images/s of fine-tuning, as a share of the float training's, in turns of one process.

Both take steps of the section `train` on the same random images, augmentation left out. A share is
the median over the turns of the time of a float step over that of a fine-tuning step.

    inv bench finetune [-- --schemes shift --threads 2 --turns 9]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402

from powtwo.conversion.calibrated import Calibrated  # noqa: E402
from powtwo.conversion.finetune import Finetune  # noqa: E402
from powtwo.core.machine import processor  # noqa: E402
from powtwo.core.stages import repeatable  # noqa: E402
from powtwo.finetuning.loop import Distillation, recipe_of  # noqa: E402
from powtwo.finetuning.network import GridNetwork  # noqa: E402
from powtwo.network.checkpoint import Checkpoint  # noqa: E402
from powtwo.sidecar import schema  # noqa: E402
from powtwo.sidecar.one_line import one_line_errors  # noqa: E402
from powtwo.training.processes import SINGLE_PROCESS  # noqa: E402
from powtwo.training.trainer import Trainer  # noqa: E402

STEPS = 2  # of each kind in a turn


def main() -> None:
    parser = argparse.ArgumentParser(prog="inv bench finetune --", description=__doc__)
    parser.add_argument("--schemes", nargs="+", default=["shift"], help="of the last run")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    with one_line_errors("finetune"):
        print(json.dumps(measure(options), indent=2))


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Take turns, and return each scheme's share."""
    params = schema.load(ROOT / "params.yaml")
    repeatable(0, options.threads)
    x = torch.randn(options.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (options.batch_size,))
    network = Checkpoint.load(ROOT / "models/float.safetensors").network().train()
    trainers = {"float": Trainer(network, params.train)}
    for name in options.schemes:
        calibrated = Calibrated.load(ROOT / f"models/calibrated/{name}.safetensors")
        finetune = params.schemes[name].finetune or Finetune(epochs=1)
        grid, recipe = (
            GridNetwork(calibrated, params.schemes[name]),
            recipe_of(params.train, finetune),
        )
        trainers[name] = Distillation(grid, recipe, SINGLE_PROCESS, calibrated.folded, finetune)

    def steps(trainer: Trainer) -> None:
        for _ in range(STEPS):
            trainer.step(x, labels, 1e-4)

    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(options.turns + 1):
        for name, trainer in trainers.items():
            taken = timed(lambda trainer=trainer: steps(trainer))
            if turn:  # the first warms up
                seconds[name].append(taken)
    images = STEPS * options.batch_size
    return {
        "processor": processor(), "threads": options.threads, "torch": torch.__version__,
        "batch_size": options.batch_size, "turns": options.turns,
        "float_images_per_second": round(images / statistics.median(seconds["float"])),
        "share_of_float": {
            name: round(statistics.median(map(float.__truediv__, seconds["float"], mine)), 3)
            for name, mine in seconds.items()
        },
    }  # fmt: skip


def timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
