"""Presets: overlays on `params.yaml`, one file an experiment.

ruamel.yaml reads and writes the file, so comments, the order of keys and number formats stay.
`mnist5k` is laid before every other preset and holds every key that any of them sets: what was used
before leaves no trace, and keys that no preset names, such as a user's own schemes, stay. A preset
may bring schemes; the next one takes those away that are still as they were brought.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from powtwo.core import files
from powtwo.core.params import ParamsError, parse_yaml
from powtwo.sidecar import schema

DEFAULT = "mnist5k"
SCHEMES = "schemes"  # the section to which a preset may add
MODEL = "model"  # the section of which no key of an old one may stay


def names(folder: Path) -> list[str]:
    """List the presets that `folder` holds."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def use(name: str, target: Path, folder: Path) -> None:
    """Lay the default preset and then the preset `name` over the parameter file.

    Raises:
        ParamsError: where there is no such preset, it does not fit the file, or the result breaks a
            rule; the file is then left as it was.
    """
    text, _ = _with_preset(name, target, folder)
    if text.encode() != target.read_bytes():
        files.write_text(target, text)


def parameters(name: str, base: Path, folder: Path) -> schema.Params:
    """Return what `use` would make of the parameter file `base`, which stays as it is.

    Raises:
        ParamsError: as `use` does.
    """
    return _with_preset(name, base, folder)[1]


def lay(overlay: str, text: str) -> str:
    """Return the YAML `text` with the overlay's values in the place of its own.

    Raises:
        ParamsError: where `text` lacks a key of the overlay, or one has a section where the other
            has a value.
    """
    return edit(text, partial(_lay, _parse(overlay, "preset")))


def edit(text: str, change: Callable[[CommentedMap, list[str]], None]) -> str:
    """Return the YAML `text` with its values changed in place, and all else as it was.

    Args:
        text: of the parameter file.
        change: gets the values, and the lines of the text for `put`.

    Raises:
        ParamsError: where it is no YAML mapping, or `change` raises it.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    values = _parse(text, "parameter file")
    change(values, text.splitlines())
    stream = io.StringIO()
    _yaml().dump(values, stream)
    return stream.getvalue().replace("\n", line_end)


def put(values: CommentedMap, name: str, new: Any, lines: list[str]) -> None:
    """Set a value; a comment on its line stands as far from it as before."""
    _keep_gap(values.ca.items.get(name), lines)
    values[name] = new


def _with_preset(name: str, target: Path, folder: Path) -> tuple[str, schema.Params]:
    """Return the new text, and what PyYAML and so every stage reads from it."""
    known = names(folder)
    if name not in known:
        raise ParamsError(f"preset {name!r}: no such preset; use one of {', '.join(known)}")
    files.read_text(target)  # refuses what is not UTF-8
    text = target.read_bytes().decode()  # bytes, since read_text would turn CRLF into LF
    known_presets = {each: _read(folder, each) for each in known}
    text = edit(text, partial(_take_away, known_presets))
    known_presets[DEFAULT].pop(MODEL, None)  # a user's own stays
    for each in dict.fromkeys((DEFAULT, name)):
        text = edit(text, partial(_lay, known_presets[each]))
    source = f"{target} with preset {name}"
    return text, schema.check(parse_yaml(text, source), source)


def _take_away(presets: Mapping[str, CommentedMap], values: CommentedMap, lines: list[str]) -> None:
    """Remove schemes that are as a preset brought them, and restore the network of the default."""
    default = presets[DEFAULT].get(MODEL)
    for name, preset in presets.items():
        brought = preset.get(SCHEMES, CommentedMap())
        if not isinstance(brought, CommentedMap):
            raise ParamsError(f"preset {name}: {SCHEMES}: must be a section")
        schemes = values.get(SCHEMES, {})
        for scheme in [scheme for scheme in brought if schemes.get(scheme) == brought[scheme]]:
            del schemes[scheme]
        if name != DEFAULT and MODEL in preset and values.get(MODEL) == preset[MODEL]:
            put(values, MODEL, default, lines)


def _read(folder: Path, name: str) -> CommentedMap:
    return _parse(files.read_text(folder / f"{name}.yaml"), f"preset {name}")


def _bring(schemes: CommentedMap, brought: CommentedMap) -> None:
    """Add schemes before the last one, whose end has the comments of what follows the section."""
    for name, scheme in brought.items():
        if name in schemes:
            raise ParamsError(
                f"{SCHEMES}.{name}: is in the parameter file as well; rename it there"
            )
        schemes.insert(max(len(schemes) - 1, 0), name, scheme)


def _lay(overlay: CommentedMap, values: CommentedMap, lines: list[str]) -> None:
    _replace(values, overlay, (), lines)


def _replace(
    values: CommentedMap, overlay: CommentedMap, path: tuple[str, ...], lines: list[str]
) -> None:
    """Put each value of `overlay` in the place of the one under the same key."""
    for name, new in overlay.items():
        key = ".".join((*path, str(name)))
        if name not in values:
            raise ParamsError(f"{key}: not in the parameter file; add it")
        old = values[name]
        if key == SCHEMES and isinstance(old, CommentedMap) and isinstance(new, CommentedMap):
            _bring(old, new)
            continue
        if isinstance(old, CommentedMap) != isinstance(new, CommentedMap):
            raise ParamsError(f"{key}: must be a section in both files, or a value in both")
        if isinstance(old, CommentedMap) and key != MODEL:
            _replace(old, new, (*path, str(name)), lines)
        else:
            put(values, name, new, lines)


def _keep_gap(comments: list[Any] | None, lines: list[str]) -> None:
    """Have the comment on a value's line stand as far from it, however long it becomes.

    ruamel.yaml writes a comment in the column where it was, or after one space.
    """
    comment = comments and comments[2]
    if comment and comment.value.startswith("#"):
        before = lines[comment.start_mark.line][: comment.column]
        comment.value = " " * (len(before) - len(before.rstrip()) - 1) + comment.value
        comment.column = 0


class _Representer(RoundTripRepresenter):
    """Writes null by its name, and not as nothing."""


_Representer.add_representer(
    type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 2**16  # characters; no line is folded
    yaml.preserve_quotes = True
    yaml.Representer = _Representer
    return yaml


def _parse(text: str, source: str) -> CommentedMap:
    try:
        values = _yaml().load(text) or CommentedMap()
    except YAMLError as error:
        raise ParamsError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, CommentedMap):
        raise ParamsError(f"{source}: must have keys with values")
    return values
