"""Stage download: bring the images into the one file that the later stages read."""

import powtwo.sidecar.from_the_start  # noqa: F401

from typing import Annotated

from powtwo.core import files
from powtwo.core.params import StageParams, Tracks
from powtwo.core.stages import stage
from powtwo.sidecar.run_log import observed
from powtwo.sources import digest, place
from powtwo.sources.params import Source
from powtwo.sources.read import read_dataset


class Reads(StageParams):
    """What this stage reads of params.yaml; where the images lie is not tracked."""

    data: Annotated[Source, Tracks(("name", "sha256", "validation", "size", "channels", "resize"))]


def main() -> None:
    """Read the source that `data` names, split it, and write it with its counts and digests."""
    with observed("download"), stage("download", Reads) as params:
        path, source = place.location(params.data), digest.recorded()
        dataset = read_dataset(params.data, path)
        if digest.digest(params.data, path) != source:
            raise ValueError(f"{digest.SOURCE}: the images have changed since; run `inv repro`")
        with files.atomic("data/dataset.npz") as file:
            dataset.save(file)
        metrics = {
            "name": params.data.name,
            "source": source,
            "train_images": len(dataset.y_train),
            "validation_images": len(dataset.y_validation),
            "test_images": len(dataset.y_test),
            "classes": len(dataset.classes),
            "sha256": dataset.sha256(),
        }
        files.write_json("metrics/download.json", metrics)


if __name__ == "__main__":
    main()
