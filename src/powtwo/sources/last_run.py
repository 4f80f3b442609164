"""The images of the last run, as metrics/download.json has them: reused where no path is given."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from powtwo.core import files
from powtwo.sources import digest, place
from powtwo.sources.params import Source

RECORD = Path("metrics/download.json")
DATASET = Path("data/dataset.npz")  # which a run leaves, and no clone has
PARTS = ("train", "validation", "test")


class Images(NamedTuple):
    """Which images: the source's name and its digest; how many, where that is known."""

    name: str
    digest: str
    counts: tuple[int, ...] = ()  # for training, validation and testing

    def __str__(self) -> str:
        """Say them in part of a line."""
        kind, _, value = self.digest.partition(":")
        said = f"{self.name}, {kind} {value[:12]}"
        if self.counts:
            train, validation, test = self.counts
            said += f": {train:,} training, {validation:,} validation, {test:,} test images"
        return said


def read() -> Images | None:
    """Return what the last run recorded; None where it recorded nothing, or no digest."""
    try:
        record = files.read_json(RECORD)
        counts = tuple(int(record[f"{part}_images"]) for part in PARTS)
        return Images(str(record["name"]), str(record["source"]), counts)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def current(source: Source, path: Path | None, last: Images | None) -> str:
    """Return the digest of the images that a run has now; without a path, of the last run's.

    Raises:
        ValueError: as `digest` does, and `reused`.
    """
    if source.name == "images" and path is None:
        return reused(source, last)
    return digest.digest(source, path)


def reused(source: Source, last: Images | None) -> str:
    """Return the digest of the last run's images, which stand in where no path is given.

    Raises:
        ValueError: where there are none, or others than `source` asks for.
    """
    if last is None or last.name != source.name:
        place.check(source, None)
        raise ValueError(f"{RECORD}: has no digest of {source.name}; run `inv repro`")
    if source.sha256 is not None and last.digest != f"sha256:{source.sha256}":
        raise ValueError(
            f"data.sha256 = {source.sha256}: the last run's images are {last.digest}; set "
            f"data.path or {place.ENVIRONMENT} to the archive"
        )
    return last.digest


def told(now: Images, last: Images | None, path: Path | None) -> str:
    """Say in one line which images a run will have, and whether they are the last run's.

    In a new clone, the last run is the one whose record is committed.
    """
    if last is not None and (now.name, now.digest) == (last.name, last.digest):
        run = "last run" if DATASET.exists() else "committed run"
        kept = f"as in the {run}" if path or now.name != "images" else f"no path: the {run}'s"
        return f"images ({kept}): {last}"
    return f"images: {now}" + (f"; the last run had {last}" if last else "")
