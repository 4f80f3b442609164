"""What a file says of itself, believed only as far as a typed model goes; refused in one line."""

from __future__ import annotations

import json
import reprlib
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

M = TypeVar("M", bound=BaseModel)

MOST_KEYS = 10_000  # each unknown one becomes an error of its own
LONGEST = 300  # characters of a reason

VALUE = 60  # and of a value in it

_short = reprlib.Repr()  # looks at no more than it shows
_short.maxstring = _short.maxother = _short.maxlong = VALUE


class Part(BaseModel):
    """An object in a file: strict types, no unknown keys, only finite numbers, read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


@contextmanager
def refused(path: Path | str, remedy: str) -> Iterator[None]:
    """Have an error of the block name the file, and say what to do.

    Raises:
        ValueError: in place of one that the block raised.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {in_one_line(error)}; {remedy}") from None


def in_one_line(error: Exception) -> str:
    """Return what an error says, or its type: other libraries may quote half a file in it."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(error))
    return textwrap.shorten(text, LONGEST, placeholder=" ...") or type(error).__name__


def require(holds: bool, key: str, value: object, rule: str) -> None:
    """Refuse a value that breaks a rule.

    Raises:
        ValueError: with key, value and rule, where it does not hold.
    """
    if not holds:
        raise ValueError(f"{key} = {shown(value)}: {rule}")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, whatever it is, and in one line."""
    text = _short.repr(value)
    return text if len(text) <= VALUE else f"{text[: VALUE - 3]}..."


def parse_json(text: str) -> Any:
    """Parse JSON of which every reader makes the same values.

    Raises:
        ValueError: where it is none, has a key twice, NaN or Infinity, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("no JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from None


def validate(model: type[M], values: Any) -> M:
    """Check values as JSON has them against a model.

    Raises:
        ValueError: with key, value and rule of the first thing that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(_line(error, values)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MOST_KEYS:
        raise ValueError(f"an object of {len(pairs):,} keys; at most {MOST_KEYS:,} are read")
    values = dict(pairs)
    if len(values) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)}: is there twice")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}: every number must be finite")


def _line(error: ValidationError, values: Any) -> str:
    """Say the first thing that is wrong as `key = value: rule`."""
    first = error.errors(include_url=False)[0]
    value, rule, context = first["input"], first["msg"], first.get("ctx", {})
    key = _key(first["loc"], values, first["type"] == "missing")
    if first["type"].startswith("union_tag"):
        key += f": {context['discriminator']}".replace("'", "")
        value = context.get("tag")
        rule = f"must be one of {context.get('expected_tags')}"
    if first["type"] in ("missing", "union_tag_not_found"):
        return f"{key}: missing"
    if first["type"] == "extra_forbidden":
        rule = "unknown key"
    rule = rule.removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return f"{key} = {shown(value)}: {rule[:1].lower()}{rule[1:]}"


def _key(location: Sequence[int | str], values: Any, missing: bool) -> str:
    """Name a place as `layer 3: stride`; what pydantic calls the members of a union is left out."""
    parts: list[str] = []
    for part in location:
        if isinstance(values, list) and isinstance(part, int) and parts:
            parts[-1:] = [f"layer {part}:" if parts == ["layers"] else f"{parts[-1]} {part}"]
            values = values[part]
        elif isinstance(values, dict) and part in values:
            parts.append(part if str(part).isprintable() else shown(part))  # type: ignore[arg-type]
            values = values[part]
    if missing:
        parts.append(str(location[-1]))
    return " ".join(parts).removesuffix(":") or "metadata"
