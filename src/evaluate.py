"""Stage evaluate@S: the integer network of scheme S against the float network.

Accuracies and SQNR are of test images; sensitivities, which choices may follow, of validation
images.
"""

import sys

import torch

from powtwo import code_histogram, engine, evaluation, files, layer_quality, sensitivity
from powtwo.calibrated import Calibrated
from powtwo.datasets import Dataset
from powtwo.integer import IntegerNetwork
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"evaluate-{scheme}", "evaluate") as params:
        size = params.evaluate.batch_size
        dataset = Dataset.load("data/dataset.npz")
        images, labels = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
        calibrated = Calibrated.load(f"models/calibrated/{scheme}.safetensors")
        running = engine.make(IntegerNetwork.load(f"models/integer/{scheme}.safetensors"))

        exact = evaluation.float_predictor(calibrated.folded, calibrated.input.normalization)
        predicted = evaluation.predictions(running.predict, images, size)
        metrics = evaluation.compare(labels, evaluation.predictions(exact, images, size), predicted)
        held_out = evaluation.predictions(
            running.predict, torch.from_numpy(dataset.x_validation), size
        )
        metrics |= evaluation.on_validation(torch.from_numpy(dataset.y_validation), held_out)
        spread = evaluation.spread(images, params.evaluate.sqnr_images)
        watched = layer_quality.watch(running, calibrated.folded, spread, size)
        layers = [layer.quality() for layer in watched]
        metrics["min_sqnr_db"] = min(row.sqnr_db for row in layers)

        few = [
            evaluation.spread(torch.from_numpy(part), params.evaluate.sensitivity_images)
            for part in (dataset.x_validation, dataset.y_validation)
        ]
        sensitive = sensitivity.measure(running, calibrated.folded, *few, size)

        files.write_json(f"metrics/evaluate/{scheme}.json", metrics | sensitive.metrics())
        files.write_csv(
            f"plots/layers/{scheme}.csv",
            (*layer_quality.COLUMNS, *sensitivity.COLUMNS),
            [(*layer_quality.row(each), *sensitive.row(each.layer)) for each in layers],
        )
        files.write_csv(
            f"plots/histograms/{scheme}.csv",
            code_histogram.COLUMNS,
            layer_quality.histogram_rows(watched),
        )
        pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
        named = [(dataset.classes[a], dataset.classes[p]) for a, p in pairs]
        files.write_csv(f"plots/predictions/{scheme}.csv", ("actual", "predicted"), named)


if __name__ == "__main__":
    main(sys.argv[1])
