"""The options of a scheme in one line, such as `W8 lab, clamp −8 to 0 · A8 lab · floor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What a value is called where it differs from what a scheme has without it.
TENSOR_WORDS: Mapping[str, Mapping[Any, str]] = {
    "kind": {"power_of_two": "±2ᵏ", "power_of_two_nonzero": "±2ᵏ without 0"},
    "per": {"channel": "per channel"},
    "rounding": {"learned": "learned rounding"},
}
SCHEME_WORDS: Mapping[str, Mapping[Any, str]] = {
    "bias": {"floor": "bias floored"},
    "logits": {"codes": "8-bit logits"},
    "equalize": {True: "equalized"},
    "bias_correction": {True: "bias corrected"},
}


def describe(scheme: Mapping[str, Any]) -> str:
    """Return the options of a scheme, as `schemes` of params.yaml has them."""
    parts = [
        f"{letter}{scheme[key].get('bits', 8)} {', '.join(_tensor(scheme[key]))}"
        for letter, key in (("W", "weights"), ("A", "activations"))
    ]
    parts.append(scheme.get("rounding", "floor").replace("_", " "))
    parts += _words(scheme, SCHEME_WORDS)
    if accumulator := scheme.get("accumulator"):
        tiles = " in tiles" * accumulator.get("tiles", False)
        parts.append(f"{accumulator.get('bits', 32)}-bit accumulators{tiles}")
    parts += [f"{name}: {_layer(layer)}" for name, layer in scheme.get("layers", {}).items()]
    if tuning := scheme.get("finetune"):
        parts.append(f"fine-tuned {tuning['epochs']} epochs")
    return " · ".join(parts)


def _tensor(quantizer: Mapping[str, Any]) -> Iterator[str]:
    yield quantizer["observer"]
    yield from _words(quantizer, TENSOR_WORDS)
    if quantizer.get("clamp"):
        low, high = (f"{exponent}".replace("-", "−") for exponent in quantizer["clamp"])
        yield f"clamp {low} to {high}"
    if quantizer.get("zero_point") is not None:
        yield f"zero point {quantizer['zero_point']}"


def _words(options: Mapping[str, Any], words: Mapping[str, Mapping[Any, str]]) -> list[str]:
    return [known[options[key]] for key, known in words.items() if options.get(key) in known]


def _layer(layer: Mapping[str, Any]) -> str:
    letters = {"weights": "W", "activations": "A", "accumulator": "accumulator "}
    bits = [f"{letter}{layer[key]}" for key, letter in letters.items() if layer.get(key)]
    kinds = {
        "uniform": "uniform",
        "power_of_two": "powers of two",
        "power_of_two_nonzero": "powers of two without 0",
    }
    return " ".join([*bits, *([kinds[layer["kind"]]] if layer.get("kind") else [])])
