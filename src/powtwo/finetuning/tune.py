"""What the stage does for a scheme with a section `finetune`: files in, files out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.stages import at_start, repeatable
from powtwo.dataset.images import Dataset
from powtwo.finetuning.loop import FineTuning
from powtwo.training import loop, processes, reporting
from powtwo.training.checkpoints import Checkpoints, depends_on
from powtwo.training.params import Train


class Places(NamedTuple):
    """The files of the stage."""

    script: Path  # which several processes run
    calibrated: Path
    finetuned: Path
    curves: Path


def run(scheme: Scheme, train: Train, seed: int, places: Places) -> Checkpoints:
    """Fine-tune in as many processes as `train.processes` says; return where the run was kept."""
    assert scheme.finetune is not None
    repeatable(seed, train.threads)
    if processes.must_launch(train):
        processes.launch(train, places.script)
    with processes.joined(train) as group:
        dataset = Dataset.load("data/dataset.npz")
        calibrated = Calibrated.load(places.calibrated)
        start = hashlib.sha256(places.calibrated.read_bytes()).hexdigest()
        fingerprint = depends_on(train, dataset, at_start() | {"the calibrated network": start})
        checkpoints = Checkpoints(fingerprint, group=group)
        tuning = FineTuning(calibrated, scheme, dataset, train, seed=seed, group=group)
        reporter = reporting.Reporter(
            scheme.finetune.epochs, len(dataset.y_train), str(places.curves)
        )
        loop.complete(
            lambda: tuning,
            on_epoch=None if group.rank else reporter,
            checkpoints=checkpoints,
        )
        if group.rank == 0:
            with files.atomic(places.finetuned) as path:
                tuning.network.on_grid().save(path)
    return checkpoints
