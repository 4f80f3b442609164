"""The whole of `params.yaml`, put together from the sections of the packages; it only refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from powtwo.calibration.params import Calibrate
from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.params import ParamsError, SchemeName, Section, Seed, parse_yaml, validate
from powtwo.dataset.params import Pixels
from powtwo.energy.params import Energy
from powtwo.evaluation.params import Evaluate
from powtwo.export.params import Export
from powtwo.network.params import Model, check_poolings
from powtwo.sources.params import Source
from powtwo.training.params import Train

__all__ = ["Data", "Params", "ParamsError", "check", "load"]


class Data(Source, Pixels):
    """Which images, and how a pixel becomes a number."""


class Params(Section):
    """The whole file."""

    seed: Seed
    data: Data
    model: Model
    train: Train
    calibrate: Calibrate
    schemes: Annotated[dict[SchemeName, Scheme], Field(min_length=1)]
    evaluate: Evaluate
    energy: Energy
    export: Export

    @field_validator("export")
    @classmethod
    def _exports_known_schemes(cls, export: Export, info: ValidationInfo) -> Export:
        unknown = [name for name in export.schemes if name not in info.data.get("schemes", name)]
        if unknown:
            raise ValueError(f"schemes: {unknown[0]!r} is no scheme; add it or leave it out")
        if twice := {name for name in export.schemes if export.schemes.count(name) > 1}:
            raise ValueError(f"schemes: {min(twice)!r} is there twice; leave one out")
        return export


def check(values: Any, source: str = "params.yaml") -> Params:
    """Check the values of a whole file; `source` is what an error calls it.

    Raises:
        ParamsError: where a value breaks a rule.
    """
    params = validate(Params, values, source)
    try:
        _check_images(params)
    except ValueError as error:
        raise ParamsError(f"{source}: {error}") from None
    return params


def _check_images(params: Params) -> None:
    """Check what other sections say against the shape of the images."""
    image = params.data.shape
    params.data.check_channels(image[0])
    params.train.augment.check_image(image)
    if params.model.layout is not None:
        check_poolings("model.layout", params.model.layout, image)


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: where the file is no YAML mapping, or a value breaks a rule.
        FileNotFoundError: where there is no such file.
    """
    return check(parse_yaml(files.read_text(path), str(path)), str(path))
