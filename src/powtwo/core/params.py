"""Reading parameters: types of values, sections, and the part of `params.yaml` that a stage reads.

The sections themselves have their models in the packages that read them. A key that is unknown, of
the wrong type or of an impossible value is refused with one line: key, value and rule.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

MOST_LETTERS = 100  # of a scheme's name: files and folders are named after it

M = TypeVar("M", bound=BaseModel)

_TEXT = "tag:yaml.org,2002:str"
_YAML_1_2_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_YAML_1_2_NUMBER = re.compile(
    rf"[-+]?(0[box])?[\d_]+|{_YAML_1_2_FLOAT.pattern}|[-+]?[\d_]*\.[\d_]*\d"
)
# What every version reads alike, unquoted and no text.
_PLAIN = re.compile(
    r"[-+]?(0|[1-9]\d*)|[-+]?(\d+\.\d*|\.\d+)|0x[0-9a-fA-F]+"
    r"|[Tt]rue|TRUE|[Ff]alse|FALSE|[Nn]ull|NULL|~||[-+]?\.inf|\.nan"
)


class ParamsError(ValueError):
    """`params.yaml` says something that cannot be: one line with key, value and rule."""


def _read_exponent(value: Any) -> Any:
    """Turn `1e-3` into a float: PyYAML (YAML 1.1) reads it as a string, DVC (1.2) as a number."""
    if isinstance(value, str) and _YAML_1_2_FLOAT.fullmatch(value):
        return float(value)
    return value


Number = Annotated[float, BeforeValidator(_read_exponent), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
SchemeName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=MOST_LETTERS)
]


class Section(BaseModel):
    """A section of the file: strict types, no unknown keys, read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Tracks:
    """Says of a section that a stage reads: only these of its keys make the stage stale."""

    keys: tuple[str, ...]


class StageParams(BaseModel):
    """What one stage reads, declared once: a field for each key, its alias the dotted key.

    `{scheme}` in a key stands for the scheme that the stage runs for.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    @classmethod
    def keys(cls, scheme: str = "") -> list[str]:
        """List the keys that DVC follows, as `params` in dvc.yaml has them."""
        found = []
        for name, field in cls.model_fields.items():
            key = (field.alias or name).format(scheme=scheme)
            tracks = [each for each in field.metadata if isinstance(each, Tracks)]
            found += [f"{key}.{below}" for below in tracks[0].keys] if tracks else [key]
        return found

    @classmethod
    def read(cls, values: Any, scheme: str = "") -> Self:
        """Pick the stage's keys out of the whole file's values, and check them.

        Raises:
            ParamsError: where a key is missing, or its value breaks a rule.
        """
        picked = {}
        for name, field in cls.model_fields.items():
            value, section = (
                select(values, (field.alias or name).format(scheme=scheme)),
                field.annotation,
            )
            if (
                isinstance(section, type)
                and issubclass(section, Section)
                and isinstance(value, dict)
            ):
                # A section of the file may have keys that belong to another package.
                known = section.model_fields
                value = {key: item for key, item in value.items() if key in known}
            picked[field.alias or name] = value
        return validate(cls, picked, "params.yaml", scheme=scheme)


def validate(model: type[M], values: Any, source: str, *, scheme: str = "") -> M:
    """Check values against a model; `source` is what an error calls them.

    Raises:
        ParamsError: with the first thing that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ParamsError(f"{source}: {_one_line(error, scheme)}") from None


@lru_cache
def parse_yaml(text: str, source: str = "params.yaml") -> Any:
    """Parse YAML once for all who ask; the values must not be changed.

    Raises:
        ParamsError: where it is no YAML, has a key twice, or has a value that YAML 1.1 (PyYAML) and
            YAML 1.2 (DVC) read differently.
    """
    try:
        return _parse(text, source)
    except ParamsError:
        raise
    except yaml.YAMLError as error:
        raise ParamsError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # such as an integer of 5,000 digits
        raise ParamsError(f"{source}: cannot be read: {error}") from None
    except RecursionError:
        raise ParamsError(f"{source}: nested too deeply to be read") from None


def _parse(text: str, source: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        for key, rule in _ambiguities(node, ()):
            raise ParamsError(f"{source}: {key}: {rule}")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _ambiguities(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each value, or key, that not every reader takes for the same."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            below = (*path, str(key.value))
            if key.value in seen:
                yield ".".join(below), "is there twice; leave one"
            seen.add(key.value)
            if isinstance(key, yaml.ScalarNode) and (_is_number(key) or key.tag != _TEXT):
                yield ".".join(below), f'a key must be text; put it in quotes: "{key.value}"'
            yield from _ambiguities(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _ambiguities(item, (*path, str(index)))
    elif isinstance(node, yaml.ScalarNode) and _is_ambiguous(node):
        rule = "versions of YAML read it differently; write a plain decimal number, true or false"
        yield f"{'.'.join(path)} = {node.value}", f"{rule}, or put text in quotes"


def _is_ambiguous(node: yaml.ScalarNode) -> bool:
    """Tell whether a value is neither plain text nor a number, a boolean or null of JSON's kind."""
    if node.style is not None or _YAML_1_2_FLOAT.fullmatch(
        node.value
    ):  # quoted; see _read_exponent
        return False
    if node.tag == _TEXT:
        return _is_number(node)
    return not _PLAIN.fullmatch(node.value)


def _is_number(node: yaml.ScalarNode) -> bool:
    """Tell whether YAML 1.2 takes an unquoted scalar for a number."""
    return node.style is None and bool(_YAML_1_2_NUMBER.fullmatch(node.value))


def select(values: Any, key: str) -> Any:
    """Return what a dotted key, such as `schemes.lab`, names in nested mappings."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            raise ParamsError(f"params.yaml: {key}: no such key; add it")
        values = values[part]
    return values


def _one_line(error: ValidationError, scheme: str) -> str:
    """Say the first thing that is wrong as `key = value: rule`."""
    first, *others = error.errors()
    parts = [str(part) for part in first["loc"] if part != "[key]"]
    key = ".".join(parts).replace("{scheme}", scheme) or "file"
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "missing":
        return f"{key}: missing; add it{more}"
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        rule = "unknown key; " + _suggestion(first["loc"])
    return f"{key} = {first['input']!r}: {rule}{more}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    """Name the known key that an unknown one most resembles."""
    known = sorted({name for model in _sections(Section) for name in model.model_fields})
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]!r}?" if close else "remove it"


def _sections(base: type[Section]) -> list[type[Section]]:
    """List the sections, and those that extend another."""
    return [base, *(model for section in base.__subclasses__() for model in _sections(section))]
