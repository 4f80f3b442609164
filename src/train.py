"""Stage train: images in, the float network of the best epoch out, and its learning curves."""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys
from pathlib import Path
from typing import Annotated

from powtwo.core import files
from powtwo.core.params import Seed, StageParams, Tracks
from powtwo.core.stages import at_start, repeatable, stage
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.dataset.params import Pixels
from powtwo.network import source
from powtwo.network.architecture import of_model as architecture_of
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.params import Model
from powtwo.sidecar.run_log import note, observed
from powtwo.training import devices, loop, processes, reporting
from powtwo.training.checkpoints import Checkpoints, depends_on
from powtwo.training.params import Train


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    seed: Seed
    data: Annotated[Pixels, Tracks(("normalize", "mean", "std"))]
    model: Model
    train: Train


def main() -> None:
    """Run the stage, in as many processes as `train.processes` says."""
    with observed("train"), stage("train", Reads) as params:
        repeatable(params.seed, params.train.threads)
        if processes.must_launch(params.train):
            processes.launch(params.train, Path(__file__))
            return
        with processes.joined(params.train) as group:
            checkpoints = run(params, group)
    checkpoints.remove()  # not before the stage has found its code and parameters unchanged


def run(params: Reads, group: processes.Group) -> Checkpoints:
    """Train, and write every output; return where the run was kept meanwhile."""
    dataset = Dataset.load("data/dataset.npz")
    normalization = Normalization.of(params.data, dataset.x_train)
    own_files = source.checked(params.model)
    architecture = architecture_of(params.model, dataset.shape, len(dataset.classes))
    source.checked(params.model)  # what was read is what was checked
    network = architecture.build()
    started_with = at_start() | own_files
    checkpoints = Checkpoints(depends_on(params.train, dataset, started_with), group=group)
    for line in () if group.rank else architecture.notes:
        print(line, file=sys.stderr, flush=True)
    if warning := "" if group.rank else reporting.few_steps(params.train, len(dataset.y_train)):
        print(warning, file=sys.stderr, flush=True)
    reporter = reporting.Reporter(params.train.epochs, len(dataset.y_train))
    fit = loop.fit(
        network, dataset, normalization, params.train, seed=params.seed,
        on_epoch=None if group.rank else reporter,
        on_resume=None if group.rank else reporting.write_curves,
        checkpoints=checkpoints, group=group,
    )  # fmt: skip
    note(
        **devices.circumstances(params.train.device, params.train.precision),
        processes=params.train.processes, earlier_seconds=fit.earlier_seconds, steps=fit.steps,
    )  # fmt: skip
    if group.rank == 0:
        if not fit.history:
            reporting.write_curves([])
        with files.atomic("models/float.safetensors") as path:
            Checkpoint(architecture, normalization, fit.weights).save(path)
        metrics = reporting.metrics(network, dataset, normalization, fit)
        files.write_json("metrics/train.json", metrics)
    return checkpoints


if __name__ == "__main__":
    main()
