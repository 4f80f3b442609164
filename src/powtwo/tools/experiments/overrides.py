"""What an experiment changes in params.yaml: `key=value`, checked as the file itself is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from powtwo.core.params import ParamsError, parse_yaml
from powtwo.sidecar import schema
from powtwo.tools import presets

Overrides = Mapping[str, Any]  # dotted key → value


def read(words: Iterable[str]) -> dict[str, Any]:
    """Return the overrides that words such as `train.epochs=8` say; values are YAML.

    Raises:
        ParamsError: where a word is no `key=value`, a key is there twice, or a value is one that
            versions of YAML read differently.
    """
    overrides: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not all(key.split(".")):
            raise ParamsError(f"-s {word}: must be key=value, such as -s train.epochs=8")
        if key in overrides:
            raise ParamsError(f"-s {word}: {key} is there twice; leave one")
        try:
            overrides[key] = parse(value, f"-s {key}")
        except ParamsError as error:
            raise ParamsError(str(error).replace(":  = ", " = ", 1)) from None
    return overrides


def parse(text: str, source: str) -> Any:
    """Parse YAML as DVC does, so that `1e-3` is a number.

    Raises:
        ParamsError: where it is no YAML, or PyYAML would read another value.
    """
    parse_yaml(text, source)
    return YAML(typ="safe").load(text)


def lay(overrides: Overrides, text: str, source: str) -> tuple[str, schema.Params]:
    """Return the text of params.yaml with the overrides, and what stages will read from it.

    A mapping replaces what is there; a key that the file lacks, such as a new scheme, is added.

    Args:
        overrides: what changes.
        text: of params.yaml.
        source: what an error calls the result.

    Raises:
        ParamsError: where a key is unknown, or a value breaks a rule.
    """
    for key in overrides:
        if above := [other for other in overrides if key.startswith(f"{other}.")]:
            raise ParamsError(f"{source}: {key}: {above[0]} sets it as well; leave one")

    def change(values: CommentedMap, lines: list[str]) -> None:
        for key, value in overrides.items():
            _set(values, key, value, lines, source)

    text = presets.edit(text, change)
    return text, schema.check(parse_yaml(text, source), source)


def _set(values: CommentedMap, key: str, value: Any, lines: list[str], source: str) -> None:
    *path, name = key.split(".")
    for part in path:
        values = values.setdefault(part, CommentedMap())
        if not isinstance(values, CommentedMap):
            raise ParamsError(f"{source}: {key}: {part} is a value without keys; correct it")
    presets.put(values, name, _in_a_line(value), lines)


def _in_a_line(value: Any) -> Any:
    """Have ruamel.yaml write lists and mappings as `[…]` and `{…}`."""
    if isinstance(value, dict):
        mapping = CommentedMap({key: _in_a_line(item) for key, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([_in_a_line(item) for item in value])
        sequence.fa.set_flow_style()
        return sequence
    return value


def said(overrides: Overrides, names: Mapping[str, str] | None = None) -> str:
    """Say overrides in one line, by other names of the keys where given."""
    names = names or {}
    words = [f"{names.get(key, key)}={said_value(value)}" for key, value in overrides.items()]
    return " ".join(words) or "nothing"


def said_value(value: Any) -> str:
    """Say a value as YAML has it, in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return for each dotted key its shortest ending, of two words or more, that no other has."""
    return {key: _shortest(key, [other for other in keys if other != key]) for key in keys}


def _shortest(key: str, others: Sequence[str]) -> str:
    parts = key.split(".")
    endings = [".".join(parts[-count:]) for count in range(2, len(parts))]
    return next(
        (end for end in endings if not any(f".{each}".endswith(f".{end}") for each in others)), key
    )
