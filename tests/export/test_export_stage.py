"""The folder of an export, whole or not at all; and what verify-export sees of a damaged one."""

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
from export_cases import dataset, needs, small_network
from networks import ROUNDINGS, random_network

import export
from powtwo.export import bundle, golden, manifest, readme
from powtwo.export.errors import UnsupportedError
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports import __main__ as verify_export
from powtwo.tools.exports import programs as tools
from powtwo.tools.exports import verify

ROOT = Path(__file__).resolve().parents[2]
EVERY = tuple(bundle.FORMATS)
PLAIN = ("c99", "memory", "course")


def project(root: Path, network: IntegerNetwork, formats: tuple[str, ...] = EVERY) -> Path:
    """Lay out a project that has been trained, converted and exported; return the export."""
    for folder in ("data", "models/integer", "tests"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tests/verilog").symlink_to(ROOT / "tests/verilog")
    images = dataset(network)
    images.save(root / "data/dataset.npz")
    network.save(root / "models/integer/small.safetensors")
    bundle.write(root / "exports/small", network, images, 2, formats)
    return root / "exports/small"


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_manifest_lists_every_file_with_its_sha256(tmp_path: Path) -> None:
    files = contents(project(tmp_path, small_network()))
    about = json.loads(files.pop("manifest.json"))
    assert set(about["files"]) == set(files)
    for name, data in files.items():
        assert about["files"][name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert about["files"][name]["bytes"] == len(data)
    for name in ("network.h", "network.c", "main.c", "golden.npz", "weight.bin", "input.bin",
                 "network.onnx", "network.qdq.onnx", "network.qonnx.onnx", "README.md",
                 "memory/layer00.weight.hex", "memory/golden/input.hex"):  # fmt: skip
        assert name in files


def test_the_manifest_describes_every_layer(tmp_path: Path) -> None:
    network = small_network("half_up", per_channel=True)
    bundle.write(tmp_path / "small", network, dataset(network), 2, ("memory",))
    about = manifest.load(tmp_path / "small")
    assert about["rounding"] == "half_up"
    assert about["input"]["code"] == "the pixel itself"
    assert [layer["kind"] for layer in about["layers"]] == [
        "conv2d", "maxpool2d", "conv2d", "flatten", "linear", "linear",
    ]  # fmt: skip
    first, pool, _, flatten, _, last = about["layers"]
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
    assert about["layers"][4]["memory"]["input"] == "memory/golden/layer02.output.hex"
    assert last["output"] == "int32"
    assert "shift" not in last


def test_the_same_network_gives_the_same_bytes_and_no_path_or_date(tmp_path: Path) -> None:
    network = small_network()
    one, other = tmp_path / "one", tmp_path / "some" / "where" / "else"
    for folder in (one, other):
        bundle.write(folder, network, dataset(network), 2)
    assert contents(one) == contents(other)
    for name, data in contents(one).items():
        assert str(tmp_path).encode() not in data, name
        assert str(ROOT).encode() not in data, name
        if not name.endswith((".npz", ".bin", ".onnx", ".hex", ".c")):
            assert not re.search(rb"20[2-9]\d-\d\d", data), name


def test_golden_images_are_spread_over_sorted_classes(tmp_path: Path) -> None:
    network = small_network()
    images = dataset(network, per_class=4)
    order = images.y_test.argsort(kind="stable")  # as class folders come
    ordered = replace(images, x_test=images.x_test[order], y_test=images.y_test[order])
    bundle.write(tmp_path / "small", network, ordered, 5, ("memory",))
    pixels = golden.load(tmp_path / "small/golden.npz")["pixels"]
    assert (pixels == ordered.x_test[::4]).all()
    assert sorted(set(ordered.y_test[::4])) == list(range(5))


def test_a_format_that_cannot_say_it_leaves_what_was_there(tmp_path: Path) -> None:
    network = small_network()
    folder = tmp_path / "small"
    bundle.write(folder, network, dataset(network), 2, PLAIN)
    before = contents(tmp_path)
    per_channel = small_network(per_channel=True)
    message = r"weight\.bin: layer 0 has shifts .*; or leave course out of export\.formats"
    with pytest.raises(UnsupportedError, match=message):
        bundle.write(folder, per_channel, dataset(network), 2, PLAIN)
    assert contents(tmp_path) == before
    with pytest.raises(UnsupportedError):
        bundle.write(tmp_path / "new" / "small", per_channel, dataset(network), 2, PLAIN)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small_network()
    bundle.write(tmp_path / "small", network, dataset(network), 2, ("c99",))
    before = contents(tmp_path)
    written: list[Path] = []

    def write_bytes(path: Path, data: bytes) -> int:  # noqa: ARG001
        written.append(path)
        if len(written) > 3:
            raise OSError("no space left on device")
        return path.write_text("half", "ascii")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="no space left"):
        bundle.write(tmp_path / "small", network, dataset(network), 3, PLAIN)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_files_of_a_format_that_was_dropped_do_not_stay(tmp_path: Path) -> None:
    network = small_network()
    bundle.write(tmp_path / "small", network, dataset(network), 2, PLAIN)
    bundle.write(tmp_path / "small", network, dataset(network), 2, ("course",))
    assert set(contents(tmp_path / "small")) == {
        "README.md", "golden.npz", "input.bin", "manifest.json", "weight.bin",
    }  # fmt: skip


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"export\.formats = \['tflite'\]: must be of c99, memory"):
        bundle.write(tmp_path / "small", network, dataset(network), 2, ("tflite",))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_readme_names_every_file(rounding: str) -> None:
    network = small_network(rounding)
    files = bundle.make(network, dataset(network), 2, EVERY)
    text = files["README.md"].decode()
    for name in files:
        assert name == "README.md" or f"`{name.rpartition('/')[0] or name}" in text
    assert ("hold the 2^(n−1)" in text) is (rounding == "half_up")
    assert "network.c" not in readme.text(json.loads(files["manifest.json"]), ["course"])


def test_the_stage_reads_its_parameters_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, small_network(), ("course",))
    before = contents(tmp_path / "exports/small")
    given = SimpleNamespace(schemes=["small"], images=2, formats=["c99"])

    @contextmanager
    def stage(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(export=given)

    for around in ("observed", "stage"):
        monkeypatch.setattr(export, around, stage)
    monkeypatch.chdir(tmp_path)
    export.main("small")
    after = contents(tmp_path / "exports/small")
    assert after["golden.npz"] == before["golden.npz"]
    assert "network.c" in after
    assert "weight.bin" not in after


@needs("gcc", "iverilog", "vvp")
def test_verify_prints_a_line_for_each_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path, small_network("half_up"))
    monkeypatch.chdir(tmp_path)
    assert verify_export.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("files as recorded")
    assert "small/golden.npz: 2 images equal" in lines
    assert "small/network.c: 10 images equal" in lines
    assert "small/memory: layer 0 in Icarus Verilog: 8192 words equal" in lines
    assert "small/weight.bin: 8 tensors equal" in lines
    assert "small/input.bin: 10 images equal" in lines
    assert "small/network.onnx: 10 images equal, 2 on onnx's reference" in lines
    assert "small/network.qdq.onnx: 10 images equal, rounded half to even" in lines
    assert len(lines) == len(verify.CHECKS)


def damaged(folder: Path, name: str, old: bytes, new: bytes) -> None:
    """Change a file and its entry in the manifest, so that only the check of its content sees."""
    data = (folder / name).read_bytes()
    assert old in data
    data = data.replace(old, new, 1)
    (folder / name).write_bytes(data)
    about = manifest.load(folder)
    about["files"][name]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / manifest.FILE).write_bytes(manifest.to_bytes(about))


DAMAGE = [
    ("network.c", b"l->shift[o * l->shift_step]", b"l->shift[o * l->shift_step] + 1"),
    ("network.c", b"a < 0 ? ~(~a >> n) : a >> n", b"a / (1 << n)"),
    ("network.c", b"(int16_t)(code", b"(code"),  # a compiler's error
    ("weight.bin", b"\x00\x00", b"\x00\x01"),
    ("memory/layer00.weight.hex", b"fc\n", b"fb\n"),
    ("golden.npz", b"NUMPY", b"NUMPI"),
]


@needs("gcc", "iverilog", "vvp")
@pytest.mark.parametrize(("name", "old", "new"), DAMAGE)
def test_verify_sees_what_was_changed(
    name: str, old: bytes, new: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path, small_network(relu=False), PLAIN)
    damaged(folder, name, old, new)
    monkeypatch.chdir(tmp_path)
    lines = {line.file: line for line in verify.verify_all(tmp_path) if line.outcome != "equal"}
    assert f"small/{name.partition('/')[0]}" in lines
    assert all(line.outcome == "differs" for line in lines.values())
    assert verify_export.main([]) == 1


def test_verify_sees_a_manifest_that_is_not_the_networks(tmp_path: Path) -> None:
    folder = project(tmp_path, small_network(), ("course",))
    (folder / "README.md").write_text("mine", "utf-8")
    lines = {line.file: str(line) for line in verify.verify_all(tmp_path)}
    said = "small/manifest.json: differs: README.md has another sha256; export again"
    assert lines["small/manifest.json"] == said
    (folder / "README.md").unlink()
    lines = {line.file: str(line) for line in verify.verify_all(tmp_path)}
    assert "README.md is missing" in lines["small/manifest.json"]
    other = replace(small_network(), rounding="half_even")
    other.save(tmp_path / "models/integer/small.safetensors")
    bundle.write(folder, small_network(), dataset(small_network()), 2, ("course",))
    lines = {line.file: str(line) for line in verify.verify_all(tmp_path)}
    assert "arithmetic is not the network's" in lines["small/manifest.json"]
    assert "small/golden.npz: differs: layers.0.output:" in lines["small/golden.npz"]


def test_what_needs_a_missing_tool_is_skipped_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, small_network(), PLAIN)
    monkeypatch.setattr(tools.shutil, "which", lambda _: None)
    lines = [str(line) for line in verify.verify_all(tmp_path)]
    assert "small/network.c: skipped: cc or gcc or clang is not installed" in lines
    assert "small/memory: skipped: iverilog is not installed" in lines


def test_without_the_data_set_the_golden_images_are_run(tmp_path: Path) -> None:
    project(tmp_path, small_network(), ("course", "onnx"))
    (tmp_path / "data/dataset.npz").unlink()
    lines = [str(line) for line in verify.verify_all(tmp_path)]
    assert "small/network.onnx: 2 images equal, 2 on onnx's reference" in lines
    assert "small/input.bin: 10 images readable" in lines


def test_nothing_exported_and_an_unknown_scheme_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verify_export.main([]) == 1
    assert "exports: holds no export; run the export stage first" in capsys.readouterr().err
    assert verify_export.main(["nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_the_examples_of_this_file_stay_within_float32() -> None:
    # Otherwise QONNX would refuse them, and the tests above would see less than they say.
    for rounding in ROUNDINGS:
        network = small_network(rounding)
        computing = [index for index, layer in enumerate(network.layers) if layer.has_weights]
        assert all(int(network.accumulator_bound(index).max()) < 2**24 for index in computing)
    assert random_network(1).input.shape == (3, 8, 8)
