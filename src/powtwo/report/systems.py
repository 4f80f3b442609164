"""Published chips beside our counts, and what a ratio of operations does not say: systems.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from powtwo.core.params import Section, parse_yaml, validate

FILE = Path(__file__).with_name("systems.yaml")
NO_PHOTOGRAPHS = ("mnist5k",)  # digits, whose accuracies say nothing beside those of CIFAR-10


class System(Section):
    """A whole system on silicon, measured on the images that the file names."""

    name: str
    what: str
    energy_uj: Annotated[float, Field(gt=0)]  # of an image
    accuracy: Annotated[float, Field(gt=0, le=1)]
    source: str
    url: str

    @property
    def row(self) -> dict[str, float]:
        """Return its point in the picture of accuracy and energy; it gives no interval."""
        ends = ("accuracy", "accuracy_low", "accuracy_high")
        return {"energy_uj": self.energy_uj} | dict.fromkeys(ends, self.accuracy)


class Systems(Section):
    """The file."""

    caveat: str  # beside every ratio of operations
    caveat_source: str
    caveat_url: str
    images: str
    systems: list[System]

    @property
    def markdown(self) -> str:
        """Return the caveat with a link to its source."""
        return f"{self.caveat} ([{self.caveat_source}]({self.caveat_url}))."


@lru_cache
def read() -> Systems:
    """Read and check systems.yaml."""
    values = parse_yaml(FILE.read_text(encoding="utf-8"), FILE.name)
    return validate(Systems, values, FILE.name)


def beside(download: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the systems to draw beside a run by the images it downloaded: none beside digits."""
    if download["name"] in NO_PHOTOGRAPHS:
        return {}
    return {system.name: system.row for system in read().systems}
