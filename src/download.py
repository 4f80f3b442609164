"""Stage `download`: bring the images into the one file that the later stages read."""

from pathlib import Path

from powtwo import files, sources
from powtwo.stage import stage

DATASET = Path("data/dataset.npz")
METRICS = Path("metrics/download.json")


def main() -> None:
    """Read the source that `data` names, split it, and write it with its counts and digest."""
    with stage("download", "data.name", "data.sha256", "data.validation") as params:
        dataset = sources.read(params.data, sources.location(params.data))
        with files.atomic(DATASET) as temporary:
            dataset.save(temporary)
        metrics = {
            "name": params.data.name,
            "train_images": len(dataset.y_train),
            "validation_images": len(dataset.y_validation),
            "test_images": len(dataset.y_test),
            "classes": len(dataset.classes),
            "sha256": dataset.sha256(),
        }
        files.write_json(METRICS, metrics)


if __name__ == "__main__":
    main()
