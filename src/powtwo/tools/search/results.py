"""What a search writes: tables of all that it measured, and the scheme as params.yaml has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from powtwo.conversion.scheme import LayerBits, Scheme
from powtwo.core import files
from powtwo.energy.counts import PJ_IN_UJ
from powtwo.tools.experiments import overrides
from powtwo.tools.search.candidates import said_format
from powtwo.tools.search.price import Prices
from powtwo.tools.search.steps import Alone, Found, Round

ALONE_COLUMNS = ("round", "layer", "layer_kind", "format", "accuracy", "loss", "added_loss",
                 "layer_uj", "network_uj", "refused")  # fmt: skip
FRONT_COLUMNS = ("round", "energy_uj", "ratio", "predicted_loss", "loss", "accuracy", "layers")


@dataclass(frozen=True)
class Summary:
    """What was asked for and what came of it."""

    name: str  # of the scheme that was found
    images: int
    table: str
    float_pj: Fraction

    def line(self, found: Found) -> str:
        """Say what an assignment does."""
        assert found.measurement is not None
        return (
            f"{self.name}: {found.measurement.accuracy:.2%} of {self.images:,} validation images, "
            f"loss {found.measurement.loss:.5f} ({found.predicted_loss:.5f} predicted), "
            f"{float(found.pj / PJ_IN_UJ):.4g} µJ, {float(self.float_pj / found.pj):.4g} times "
            f"less than FP32 by {self.table}"
        )


def alone_rows(rounds: Sequence[Round], prices: Prices) -> list[tuple[Any, ...]]:
    """Return rows of ALONE_COLUMNS; losses are nats, energies µJ of arithmetic."""
    return [
        (number, *_alone_row(at, each, row[0], prices))
        for number, done in enumerate(rounds, 1)
        for at, row in enumerate(done.alone)
        for each in row
    ]


def _alone_row(at: int, each: Alone, own: Alone, prices: Prices) -> tuple[Any, ...]:
    assert own.measurement is not None
    kind, said = own.measurement.shapes[at].kind, _flow(said_format(each.format))
    if each.measurement is None:
        return each.layer, kind, said, *[None] * 5, each.refused
    done = each.measurement
    energies = (prices.pj([done.shapes[at]]), prices.pj(done.shapes))
    return (
        each.layer, kind, said, done.accuracy, done.loss, done.loss - own.measurement.loss,
        *(float(pj / PJ_IN_UJ) for pj in energies), None,
    )  # fmt: skip


def front_rows(rounds: Sequence[Round], float_pj: Fraction) -> list[tuple[Any, ...]]:
    """Return rows of FRONT_COLUMNS by rising energy; what was measured has its own energy."""
    return [
        (number, *_front_row(each, float_pj))
        for number, done in enumerate(rounds, 1)
        for each in _with_measured(done)
    ]


def _with_measured(done: Round) -> list[Found]:
    measured = {said_formats(each.formats): each for each in done.tried}
    return [measured.get(said_formats(each.formats), each) for each in done.front]


def _front_row(each: Found, float_pj: Fraction) -> tuple[Any, ...]:
    return (
        float(each.pj / PJ_IN_UJ),
        float(float_pj / each.pj),
        each.predicted_loss,
        each.measurement.loss if each.measurement else None,
        each.measurement.accuracy if each.measurement else None,
        said_formats(each.formats),
    )


def said_formats(formats: dict[int, LayerBits]) -> str:
    """Say formats in one line, as `layers` of a scheme; what is empty is as the scheme has it."""
    said = {index: said_format(each) for index, each in sorted(formats.items())}
    return _flow({index: each for index, each in said.items() if each})


def scheme_values(scheme: Scheme) -> dict[str, Any]:
    """Return what params.yaml says of a scheme, without what is as by default."""
    return scheme.model_dump(mode="json", exclude_defaults=True)


def scheme_text(name: str, scheme: Scheme, comment: str) -> str:
    """Return the scheme as a section `schemes`, to copy into params.yaml."""
    lines = [f"# {comment}", "schemes:", f"  {name}:"]
    for key, value in scheme_values(scheme).items():
        if key == "layers":
            lines.append("    layers:")
            lines += [f'      "{index}": {_flow(each)}' for index, each in value.items()]
        else:
            lines.append(f"    {key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return overrides.said_value(value)


def add(name: str, scheme: Scheme, params: Path) -> None:
    """Add the scheme to the parameter file, all else as it was.

    Raises:
        ParamsError: where the result breaks a rule.
    """
    text = params.read_bytes().decode()
    change = {f"schemes.{name}": scheme_values(scheme)}
    files.write_text(params, overrides.lay(change, text, str(params))[0])
