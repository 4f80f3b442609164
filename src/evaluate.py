"""Stage evaluate@S: the integer network of scheme S against the float network.

Accuracies and SQNR are of test images; sensitivities, which choices may follow, and zeros of
validation images.
"""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys

import torch

from powtwo.conversion.calibrated import Calibrated
from powtwo.core import files
from powtwo.core.params import StageParams
from powtwo.core.stages import stage
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.engine.choose import make
from powtwo.evaluation import (
    comparison,
    float_classes,
    integer_zeros,
    layer_quality,
    sensitivity,
)
from powtwo.evaluation.params import Evaluate
from powtwo.evaluation.zeros import Zeros
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    evaluate: Evaluate


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with observed(f"evaluate-{scheme}"), stage("evaluate", Reads, scheme) as params:
        size = params.evaluate.batch_size
        dataset = Dataset.load("data/dataset.npz")
        parts = (dataset.x_test, dataset.y_test, dataset.x_validation, dataset.y_validation)
        x_test, y_test, x_validation, y_validation = map(torch.from_numpy, parts)
        folded = Calibrated.load(f"models/calibrated/{scheme}.safetensors").folded
        engine = make(IntegerNetwork.load(f"models/integer/{scheme}.safetensors"))
        counts = len(y_test), len(dataset.classes)
        reference = float_classes.read("models/float-classes.npz", *counts)

        classes = comparison.predictions(engine.predict, x_test, size)
        metrics = comparison.compare(y_test, reference, classes)
        validation_classes = comparison.predictions(engine.predict, x_validation, size)
        accuracy = comparison.accuracy(y_validation, validation_classes)
        few = evenly_spaced(len(x_test), params.evaluate.sqnr_images)
        stats = layer_quality.measure_layers(engine, folded, x_test[few], size)
        layers = [layer.quality() for layer in stats]
        metrics["min_sqnr_db"] = min(layer.sqnr_db for layer in layers)
        few = evenly_spaced(len(x_validation), params.evaluate.sensitivity_images)
        sensitive = sensitivity.measure_sensitivity(
            engine, folded, x_validation[few], y_validation[few], size
        )
        few = evenly_spaced(len(x_validation), params.evaluate.zero_images)
        zero = integer_zeros.count_integer_zeros(engine, x_validation[few], size)

        intervals = {key: metrics.pop(key) for key in comparison.INTERVALS}
        files.write_json(f"metrics/evaluate/{scheme}.json", metrics)
        files.write_csv(
            f"plots/accuracy/{scheme}.csv",
            comparison.Accuracy._fields,
            [
                comparison.Accuracy(
                    "test", len(y_test), metrics["float_accuracy"], metrics["accuracy"], **intervals
                ),
                comparison.Accuracy("validation", len(y_validation), None, accuracy),
                sensitive.accuracy(),
            ],
        )
        files.write_csv(
            f"plots/layers/{scheme}.csv",
            (*layer_quality.COLUMNS, *sensitivity.COLUMNS),
            [(*layer.row(), *sensitive.row(layer.layer)) for layer in layers],
        )
        files.write_csv(
            f"plots/histograms/{scheme}.csv",
            layer_quality.HISTOGRAM_COLUMNS,
            [row for layer in stats for row in layer.histogram_rows()],
        )
        files.write_csv(f"plots/zeros/{scheme}.csv", Zeros._fields, zero)
        pairs = zip(y_test.tolist(), classes.tolist(), strict=True)
        named = [(dataset.classes[a], dataset.classes[p]) for a, p in pairs]
        files.write_csv(f"plots/predictions/{scheme}.csv", ("actual", "predicted"), named)


if __name__ == "__main__":
    main(sys.argv[1])
