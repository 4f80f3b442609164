"""Which files of the user's the network is read of, as digests: `models/source.json`.

Of a Python file, those that it imports and names in plain text, such as weights; of an ONNX file,
its external data. Nothing is run, and PyTorch is not imported.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from powtwo.core import files
from powtwo.network import python_files
from powtwo.network.params import Model

SOURCE = Path("models/source.json")  # what the stage `source` writes


def digests(model: Model) -> dict[str, str]:
    """Return the sha256 of each file by its path; none where the network is not the user's.

    Raises:
        ValueError: where a file is missing, or no Python.
    """
    return {path.as_posix(): _sha256(path) for path in names(model)}


def write(model: Model) -> None:
    """Write what there is now."""
    files.write_json(SOURCE, {"files": digests(model)})


def checked(model: Model) -> dict[str, str]:
    """Return the digests, once they are what the stage `source` has written.

    Raises:
        ValueError: where they are not, or it has written none.
    """
    if not model.files:
        return {}
    now, before = digests(model), recorded()
    for path in sorted(now.keys() | before.keys()):
        if now.get(path) != before.get(path):
            raise ValueError(f"{SOURCE.as_posix()}: {path} has changed since; run `inv repro`")
    return now


def recorded(root: Path = Path()) -> dict[str, str]:
    """Return the digests that the stage `source` has written.

    Raises:
        ValueError: where it has written none.
    """
    try:
        return dict(files.read_json(root / SOURCE)["files"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(f"{SOURCE.as_posix()}: has no digests; run `inv repro`") from None


def names(model: Model) -> list[Path]:
    """Return the files, relative to the folder of params.yaml.

    Raises:
        ValueError: where one is missing, or no Python.
    """
    for key, value in (("python", model.python), ("onnx", model.onnx)):
        if value is not None and not Path(value).is_file():
            raise ValueError(
                f"model.{key} = {value}: no such file; correct it: paths begin at the folder of "
                "params.yaml"
            )
        if value is not None and not Path(value).resolve().is_relative_to(Path().resolve()):
            raise ValueError(
                f"model.{key} = {value}: is a link out of the folder of params.yaml; put a copy "
                "there"
            )
    if model.python is not None:
        return python_files.reads(Path(model.python))
    return sorted(_of_onnx(Path(model.onnx))) if model.onnx is not None else []


def _of_onnx(path: Path) -> list[Path]:
    """List a file and its external data."""
    import onnx  # noqa: PLC0415 (no other network needs it)
    from onnx import external_data_helper as external  # noqa: PLC0415

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ValueError(f"{path}: is no ONNX file ({type(error).__name__}); give one") from None
    data = {
        path.parent / external.ExternalDataInfo(tensor).location
        for tensor in external._get_all_tensors(model)
        if external.uses_external_data(tensor)
    }
    if missing := [each for each in sorted(data) if not each.is_file()]:
        raise ValueError(f"{path}: its weights {missing[0]} are missing; put them beside it")
    return [path, *data]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
