"""The formats that each weighted layer may have: words such as `uniform2a4p12`, or a YAML file.

A word is a weight kind, the bits of a weight and, after `a`, those of the output's codes, after `p`
those of the accumulators: `power_of_two3` leaves both as the scheme has them. A file says it in the
words of a scheme's `layers`, and for single layers:

    all: [{kind: uniform, weights: 2}, {kind: power_of_two, weights: 3, activations: 4}]
    layers: {first: [{kind: power_of_two, weights: 4}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from powtwo.conversion import layer_config
from powtwo.conversion.scheme import LayerBits, LayerName, Scheme
from powtwo.core import files
from powtwo.core.params import Section, parse_yaml, validate
from powtwo.network.folded import FoldedLayer

WORDS = "uniform2,power_of_two3,power_of_two4"  # where none are given
SUFFIXES = (".yaml", ".yml")  # of a file; anything else is words
_WORD = re.compile(r"([a-z_]+)(\d+)(?:a(\d+))?(?:p(\d+))?")


class Candidates(Section):
    """A file of candidates."""

    all: list[LayerBits] = Field(default_factory=list)
    layers: dict[LayerName, Annotated[list[LayerBits], Field(min_length=1)]] = Field(
        default_factory=dict
    )  # these instead of `all`


@dataclass(frozen=True)
class LayerFormats:
    """A weighted layer and what it may have; first comes what the scheme gives it."""

    index: int  # in the network, pooling and flattening counted
    formats: tuple[LayerBits, ...]


def read(text: str) -> Candidates:
    """Read candidates from a file, or from words with commas between them.

    Raises:
        ValueError: where a word or a value cannot be.
    """
    if text.endswith(SUFFIXES):
        return validate(Candidates, parse_yaml(files.read_text(text), text), text)
    return Candidates(all=[_format(word.strip()) for word in text.split(",")])


def _format(word: str) -> LayerBits:
    found = _WORD.fullmatch(word)
    if found is None:
        raise ValueError(
            f"--candidates {word!r}: must be a kind and bits, such as uniform2 or "
            f"power_of_two3a4p16, or a file that ends in {' or '.join(SUFFIXES)}"
        )
    kind, *bits = found.groups()
    widths = zip(("weights", "activations", "accumulator"), bits, strict=True)
    values = {"kind": kind} | {name: int(width) for name, width in widths if width}
    return validate(LayerBits, values, f"--candidates {word!r}")


def by_layer(
    candidates: Candidates, layers: Sequence[FoldedLayer], scheme: Scheme
) -> list[LayerFormats]:
    """List the formats of each weighted layer, the scheme's own first and none twice.

    Raises:
        ValueError: where a scheme with one of them breaks a rule.
    """
    weighted = [index for index, layer in enumerate(layers) if layer.weight is not None]
    own = layer_config.by_index(scheme.layers, layers)
    special = layer_config.by_index(candidates.layers, layers, "candidates: layers")
    joins = any(layer.accumulates and layer.weight is None for layer in layers)
    for index in set(special) - set(weighted):
        raise ValueError(f"candidates: layers: {index}: has no weights; leave it out")
    listed = []
    for index in weighted:
        first = own.get(index, LayerBits())
        formats = {_key(first, scheme): first}
        for candidate in special.get(index, candidates.all):
            merged = _laid(candidate, first)
            if index == weighted[-1] and scheme.logits == "int32":
                merged = merged.model_copy(update={"activations": None})
            if joins:
                _check_codes(index, merged, first, scheme)
            formats.setdefault(_key(merged, scheme), merged)
        listed.append(LayerFormats(index, tuple(formats.values())))
    for layer in listed:
        for each in layer.formats:
            layer_config.of_scheme(layers, assigned(scheme, listed, {layer.index: each}))
    return listed


def centered(
    layers: Sequence[LayerFormats], formats: Mapping[int, LayerBits]
) -> list[LayerFormats]:
    """Return the layers with one of the formats of each first, in place of the scheme's own."""
    return [
        LayerFormats(
            layer.index,
            (
                formats[layer.index],
                *(each for each in layer.formats if each != formats[layer.index]),
            ),
        )
        for layer in layers
    ]


def assigned(
    scheme: Scheme, layers: Sequence[LayerFormats], changed: Mapping[int, LayerBits]
) -> Scheme:
    """Return the scheme with the first formats of the layers, some changed, by their index.

    Raises:
        ParamsError: where it breaks a rule.
    """
    formats = {layer.index: layer.formats[0] for layer in layers} | dict(changed)
    said = {str(index): said_format(each) for index, each in sorted(formats.items())}
    values = scheme.model_dump(mode="json", exclude_none=True)
    own = {n: each for n, each in values["layers"].items() if n.isdigit()}  # of additions as well
    values["layers"] = {name: each for name, each in (own | said).items() if each}
    return validate(Scheme, values, "candidate")


def said_format(layer: LayerBits) -> dict[str, Any]:
    """Return what a scheme's `layers` says of a layer."""
    return layer.model_dump(mode="json", exclude_none=True)


def _check_codes(index: int, candidate: LayerBits, own: LayerBits, scheme: Scheme) -> None:
    """Refuse another output in a network that adds or averages, of which no chain is made.

    Raises:
        ValueError: naming the layer and its bits.
    """
    wanted, kept = (each.activations or scheme.activations.bits for each in (candidate, own))
    if wanted != kept:
        raise ValueError(
            f"candidates: layer {index}: activations = {wanted}: the network has additions or "
            f"averages, where a search leaves the codes of layers ({kept} bits) as they are; leave "
            "activations out"
        )


def _laid(candidate: LayerBits, own: LayerBits) -> LayerBits:
    return LayerBits.model_validate(said_format(own) | said_format(candidate))


def _key(layer: LayerBits, scheme: Scheme) -> str:
    """Tell formats apart: what is left out is as the scheme has it."""
    default = {
        "kind": scheme.weights.kind,
        "weights": scheme.weights.bits,
        "activations": scheme.activations.bits,
        "accumulator": scheme.accumulator.bits if scheme.accumulator else 32,
    }
    return repr(sorted((default | said_format(layer)).items()))
