"""The folder of an export, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from export_cases import PLAIN, dataset, project, small_network
from published_run import contents

import export
from powtwo.core import arrays
from powtwo.export import manifest
from powtwo.export.bundle import FORMATS, bundle_files, write_bundle
from powtwo.export.params import Export
from powtwo.export.steps import UnsupportedError
from powtwo.integer.network import IntegerNetwork

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Return every file of an export."""
    network = small_network()
    return bundle_files(network, dataset(network), 2, FORMATS)


def test_the_manifest_lists_every_file_with_its_sha256(files: dict[str, bytes]) -> None:
    listed = json.loads(files["manifest.json"])["files"]
    assert set(listed) == set(files) - {"manifest.json"}
    for name, entry in listed.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        assert entry == {"bytes": len(files[name]), "sha256": digest}
    assert set(listed) >= {
        "network.h", "network.c", "main.c", "golden.npz", "weight.bin", "input.bin",
        "network.onnx", "network.qdq.onnx", "network.qonnx.onnx", "README.md",
        "memory/layer00.weight.hex", "memory/golden/input.hex",
    }  # fmt: skip


def test_the_manifest_describes_every_layer(tmp_path: Path) -> None:
    network = small_network("half_up", per_channel=True)
    write_bundle(tmp_path / "small", network, dataset(network), 2, ("memory",))
    described = manifest.load(tmp_path / "small")
    assert described["rounding"] == "half_up"
    assert described["input"]["code"] == "the pixel itself"
    assert [layer["kind"] for layer in described["layers"]] == [
        "conv2d", "maxpool2d", "conv2d", "flatten", "linear", "linear",
    ]  # fmt: skip
    first, pool, _, flatten, _, last = described["layers"]
    assert first["input_shape"] == [3, 32, 32]
    assert first["output_shape"] == [8, 32, 32]
    assert first["shift"] == network.layers[0].shift.tolist()
    assert first["weight_exponent"] == list(network.layers[0].weight_exponent)
    assert (first["input_zero_point"], first["output_zero_point"]) == (128, 128)
    assert (first["kernel"], first["stride"], first["padding"]) == (3, 1, 1)
    assert first["macs"] == 8 * 32 * 32 * 27
    assert first["memory"]["weight"]["order"] == "OIHW"
    assert pool["memory"]["input"] == first["memory"]["output"]["file"]
    assert flatten["memory"] == {"input": "memory/golden/layer02.output.hex"}
    assert described["layers"][4]["memory"]["input"] == "memory/golden/layer02.output.hex"
    assert last["output"] == "int32"
    assert "shift" not in last


def test_the_same_network_gives_the_same_bytes_and_no_path_or_date(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "some" / "where" / "else"
    write_bundle(folder, small_network(), dataset(small_network()), 2, FORMATS)
    assert contents(folder) == files
    for name, data in files.items():
        assert str(tmp_path).encode() not in data, name
        assert str(ROOT).encode() not in data, name
        if not name.endswith((".npz", ".bin", ".onnx", ".hex", ".c")):
            assert not re.search(rb"20[2-9]\d-\d\d", data), name


def test_golden_images_are_spread_over_sorted_classes(tmp_path: Path) -> None:
    network = small_network()
    images = dataset(network, per_class=4)
    order = images.y_test.argsort(kind="stable")  # as class folders come
    ordered = replace(images, x_test=images.x_test[order], y_test=images.y_test[order])
    write_bundle(tmp_path / "small", network, ordered, 5, ())
    pixels = arrays.read(tmp_path / "small/golden.npz")["pixels"]
    assert (pixels == ordered.x_test[::4]).all()
    assert sorted(set(ordered.y_test[::4])) == list(range(5))


def test_a_format_that_cannot_express_it_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    network, folder = small_network(per_channel=True), tmp_path / "small"
    left_out = write_bundle(folder, network, dataset(network), 2, PLAIN)
    reason = "weight.bin: layer 0 has shifts by output channel; the course's accelerator takes one"
    assert list(left_out) == ["course"]
    assert left_out["course"].startswith(reason)
    assert manifest.left_out(manifest.load(folder)) == left_out
    text = (folder / "README.md").read_text("utf-8")
    assert f"\n| `course` | {left_out['course']} |\n" in text
    assert not {"weight.bin", "input.bin"} & set(contents(folder))
    assert "network.c" in contents(folder)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "network",
    [
        small_network("half_up", relu=False, logits="codes"),  # the lab with half_up
        small_network("half_up", per_channel=True, kind="power_of_two", zero_point=0),  # shift
        small_network("half_even", zero_point=100),
        replace(small_network(), layers=small_network().layers[:-1]),
    ],
    ids=["lab", "shift", "zero point", "no last layer"],
)
def test_each_format_is_written_or_left_out(name: str, network: IntegerNetwork) -> None:
    """One alone, so that what it adds is all that is there."""
    files = bundle_files(network, dataset(network), 2, [name])
    left_out = manifest.left_out(json.loads(files["manifest.json"]))
    alone = {"README.md", "golden.npz", "manifest.json"}
    assert (set(files) == alone) == (name in left_out)


def test_what_is_whole_says_nothing_of_what_is_left_out(files: dict[str, bytes]) -> None:
    assert "left_out" not in json.loads(files["manifest.json"])
    assert "left out" not in files["README.md"].decode()


def test_a_scheme_that_tensorrt_cannot_hold_is_named() -> None:
    from_zero = small_network(zero_point=0)
    text = bundle_files(from_zero, dataset(from_zero), 2, ["qdq"])["README.md"].decode()
    reason = "layer 0: zero_point = 0: must be 128, which int8 has at 0"
    assert f"rounds half to even; not for TensorRT: {reason} |" in text
    centered = small_network()
    text = bundle_files(centered, dataset(centered), 2, ["qdq"])["README.md"].decode()
    assert "rounds half to even |" in text


def test_strict_makes_it_an_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    network = small_network()
    folder = tmp_path / "small"
    write_bundle(folder, network, dataset(network), 2, PLAIN)
    before = contents(tmp_path)
    per_channel = small_network(per_channel=True)
    message = r"weight\.bin: layer 0 has shifts .*; or leave course out of export\.formats"
    with pytest.raises(UnsupportedError, match=message):
        write_bundle(folder, per_channel, dataset(network), 2, PLAIN, strict=True)
    assert contents(tmp_path) == before
    with pytest.raises(UnsupportedError):
        write_bundle(tmp_path / "new/small", per_channel, dataset(network), 2, PLAIN, strict=True)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network()
    write_bundle(tmp_path / "small", network, dataset(network), 2, ("c99",))
    before = contents(tmp_path)
    written: list[Path] = []

    def write_bytes(path: Path, data: bytes) -> int:  # noqa: ARG001
        written.append(path)
        if len(written) > 3:
            raise OSError("no space left on device")
        return path.write_text("half", "ascii")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="no space left"):
        write_bundle(tmp_path / "small", network, dataset(network), 3, PLAIN)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_files_of_a_format_that_was_dropped_do_not_stay(tmp_path: Path) -> None:
    network = small_network()
    for formats in (PLAIN, ("course",)):
        write_bundle(tmp_path / "small", network, dataset(network), 2, formats)
    assert set(contents(tmp_path / "small")) == {
        "README.md", "golden.npz", "input.bin", "manifest.json", "weight.bin",
    }  # fmt: skip


def test_an_unknown_format_is_refused() -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"export\.formats = \['tflite'\]: must be of c99, memory"):
        bundle_files(network, dataset(network), 2, ("tflite",))


def test_the_readme_names_every_file_and_no_other(files: dict[str, bytes]) -> None:
    text = files["README.md"].decode()
    for name in set(files) - {"README.md"}:
        assert f"`{name.rpartition('/')[0] or name}" in text
    network = small_network()
    course = bundle_files(network, dataset(network), 2, ("course",))["README.md"].decode()
    assert "network" not in course.replace("An integer network", "")


def test_the_stage_reads_its_parameters_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = small_network(per_channel=True)
    project(tmp_path, network, ("memory",))
    before = contents(tmp_path / "exports/small")
    params = Export(schemes=["small"], images=2, formats=["c99", "course"])

    @contextmanager
    def stage(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(export=params)

    for around in ("observed", "stage"):
        monkeypatch.setattr(export, around, stage)
    monkeypatch.chdir(tmp_path)
    export.main("small")
    after = contents(tmp_path / "exports/small")
    assert after["golden.npz"] == before["golden.npz"]
    assert "network.c" in after
    assert "memory/layer00.weight.hex" not in after
    assert "weight.bin" not in after
    assert capsys.readouterr().out.startswith("export: small: course left out: weight.bin: layer 0")
    params = params.model_copy(update={"strict": True})
    with pytest.raises(UnsupportedError, match="or do without strict"):
        export.main("small")
    assert contents(tmp_path / "exports/small") == after
