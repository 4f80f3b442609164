"""Presets: overlays on `params.yaml`, one file an experiment.

A preset is laid over the file's text and not over its values: only the characters of a value
change, so that comments, order and number formats stay as their author wrote them. `mnist5k` is
laid before every other preset and holds every key that any of them sets; so what was used before
leaves no trace, and keys that no preset speaks of, such as a user's own schemes, stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from powtwo.core import files
from powtwo.sidecar import schema as params

DEFAULT = "mnist5k"

_Edit = tuple[int, int, str]  # start, end (characters of the text), what stands there instead


class PresetError(params.ParamsError):
    """A preset that does not exist, or that does not fit the parameter file."""


def names(folder: Path | str = "presets") -> list[str]:
    """List the presets that `folder` holds."""
    return sorted(path.stem for path in Path(folder).glob("*.yaml"))


def use(name: str, target: Path | str = "params.yaml", folder: Path | str = "presets") -> None:
    """Lay the default preset and then the preset `name` over the parameter file.

    Raises:
        PresetError: where there is no such preset, or it does not fit the file.
        ParamsError: where the result breaks a rule; the file is then left as it was.
    """
    before = _read(Path(target))
    text = _laid(name, before, Path(folder))
    params.check(yaml.safe_load(text), f"{target} with preset {name}")
    if text != before:
        files.write_text(target, text)


def parameters(
    name: str, base: Path | str = "params.yaml", folder: Path | str = "presets"
) -> params.Params:
    """Return what `use` would make of the parameter file `base`, which stays as it is.

    Raises:
        PresetError, ParamsError: as `use` does.
    """
    text = _laid(name, _read(Path(base)), Path(folder))
    return params.check(yaml.safe_load(text), f"{base} with preset {name}")


def lay(overlay: str, text: str) -> str:
    """Return the YAML `text` with the overlay's values in the place of its own.

    Raises:
        PresetError: where `text` lacks a key of the overlay, or a list stands on several lines.
    """
    new, old = _compose(overlay), _compose(text)
    if new is None:
        return text
    for start, end, value in sorted(_edits(new, old, overlay, ()), reverse=True):
        text = text[:start] + value + text[end:]
    return text


def _laid(name: str, text: str, folder: Path) -> str:
    for each in dict.fromkeys((DEFAULT, name)):
        text = lay(_preset(each, folder), text)
    return text


def _preset(name: str, folder: Path) -> str:
    if name not in names(folder):
        raise PresetError(f"preset {name!r}: no such preset; use one of {', '.join(names(folder))}")
    return _read(folder / f"{name}.yaml")


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8")  # read_text would turn CRLF into LF


def _compose(text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PresetError(f"not YAML: {' '.join(str(error).split())}") from None
    return node


def _edits(
    new: yaml.Node, old: yaml.Node | None, overlay: str, key: tuple[str, ...]
) -> Iterator[_Edit]:
    """Yield what to change so that `old` says what `new`, a part of `overlay`, says."""
    if isinstance(new, yaml.MappingNode):
        children = dict(_children(old))
        for name, value in _children(new):
            if name not in children:
                raise PresetError(f"{'.'.join((*key, name))}: not in the parameter file; add it")
            yield from _edits(value, children[name], overlay, (*key, name))
        return
    if old is None or isinstance(old, yaml.MappingNode) or _is_block(old) or _is_block(new):
        raise PresetError(f"{'.'.join(key)}: must be one value or a [list] on one line; rewrite it")
    value_text = overlay[new.start_mark.index : new.end_mark.index] or "null"
    space = "" if old.end_mark.index > old.start_mark.index else " "  # `key:` has no value yet
    yield old.start_mark.index, old.end_mark.index, space + value_text


def _children(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key.value, value) for key, value in node.value]


def _is_block(node: yaml.Node) -> bool:
    """Say whether a node ends somewhere after its text, as block lists and block scalars do."""
    if isinstance(node, yaml.SequenceNode):
        return not node.flow_style
    return isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
