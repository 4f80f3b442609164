"""Stage source: which images and which files of the network there are, as digests.

It always runs, so that others are seen.
"""

import powtwo.sidecar.from_the_start  # noqa: F401

from typing import Annotated

from powtwo.core import files
from powtwo.core.params import StageParams, Tracks
from powtwo.core.stages import stage
from powtwo.network import source as network_source
from powtwo.network.params import Model
from powtwo.sidecar.run_log import observed
from powtwo.sources import digest, last_run, place
from powtwo.sources.params import Source


class Reads(StageParams):
    """What this stage reads of params.yaml; where the images lie is not tracked."""

    data: Annotated[Source, Tracks(("name", "sha256"))]
    model: Model


def main() -> None:
    """Write the digests, and say whether the images are the last run's."""
    with observed("source"), stage("source", Reads) as params:
        network_source.write(params.model)
        source, path, last = params.data, place.location(params.data), last_run.read()
        found = last_run.current(source, path, last)
        print(last_run.told(last_run.Images(source.name, found), last, path))
        if source.name == "mnist5k" and path is not None:
            print(f"{path}: not read, for data.name = 'mnist5k' comes with a package")
        files.write_json(digest.SOURCE, {"name": source.name, "digest": found})


if __name__ == "__main__":
    main()
