"""What `inv verify-export` sees of an export: that it is right, or what was damaged."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from export_cases import PLAIN, dataset, needs, project, small_network
from networks import network_of

from powtwo.export import manifest
from powtwo.export.bundle import write_bundle
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat, as_exponents
from powtwo.tools.exports.verify import CHECKS, main, verify


def outcomes(root: Path) -> dict[str, str]:
    """Return what is said of each file that is not equal."""
    lines = verify(root, [])  # memory has two of them
    return {file: said for file, said in lines if said.startswith(("differs", "skipped"))}


@needs("gcc", "iverilog", "vvp")
def test_each_file_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path, small_network("half_up"))
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("files as recorded")
    assert "small/golden.npz: 2 images equal" in lines
    assert "small/network.c: 10 images equal" in lines
    assert "small/memory: layer 0 in Icarus Verilog: 8192 words equal" in lines
    assert "small/weight.bin: 8 tensors equal" in lines
    assert "small/input.bin: 10 images equal" in lines
    assert "small/network.onnx: 10 images equal, 2 on onnx's reference" in lines
    assert "small/network.qdq.onnx: 10 images equal, rounded half to even" in lines
    assert len(lines) == len(CHECKS)


@needs("gcc", "iverilog", "vvp")
def test_packed_weights_are_compared(tmp_path: Path) -> None:
    network = small_network("half_up", weight_bits=4, kind="power_of_two")
    folder = project(tmp_path, network, PLAIN)
    write_bundle(folder, network, dataset(network), 2, PLAIN, prefix="other", packed=True)
    lines = list(verify(tmp_path, []))
    assert not [said for _, said in lines if said.startswith(("differs", "skipped"))]
    assert ("small/network.c", "10 images equal") in lines
    assert ("small/memory", "layer 0 in Icarus Verilog: 8192 words equal") in lines
    path = folder / "memory/layer00.weight.packed.hex"
    path.write_text(path.read_text("ascii").replace("0", "1", 1), "ascii")
    assert outcomes(tmp_path)["small/memory"].startswith("differs: ")


DAMAGE = [
    ("c99", "network.c", b"l->shift[o * l->shift_step]", b"l->shift[o * l->shift_step] + 1"),
    ("c99", "network.c", b"a < 0 ? ~(~a >> n) : a >> n", b"a / (1 << n)"),
    ("c99", "network.c", b"(int16_t)centered", b"centered"),  # a compiler's error
    ("course", "weight.bin", b"\x00\x00", b"\x00\x01"),
    ("course", "input.bin", b"\x00\x00\x80?", b"\x00\x00\x00?"),  # 1.0 becomes 0.5
    ("memory", "memory/layer00.weight.hex", b"fc\n", b"fb\n"),
    ("course", "golden.npz", b"NUMPY", b"NUMPI"),
]


@needs("gcc", "iverilog", "vvp")
@pytest.mark.parametrize(("kind", "name", "old", "new"), DAMAGE)
def test_a_changed_file_is_seen(
    kind: str, name: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    folder = project(tmp_path, small_network(relu=False), (kind,))
    data = (folder / name).read_bytes()
    assert old in data
    data = data.replace(old, new, 1)
    (folder / name).write_bytes(data)
    described = manifest.load(folder)  # so that only the check of the content sees it
    described["files"][name]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / manifest.FILE).write_bytes(manifest.to_bytes(described))
    lines = outcomes(tmp_path)
    assert f"small/{name.partition('/')[0]}" in lines
    assert all(said.startswith("differs: ") for said in lines.values())


def test_a_manifest_that_is_not_the_networks_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path, small_network(), ("course",))
    (folder / "README.md").write_text("mine", "utf-8")
    expected = "differs: README.md has another sha256; export again"
    assert outcomes(tmp_path) == {"small/manifest.json": expected}
    monkeypatch.chdir(tmp_path)
    assert main(["small"]) == 1
    (folder / "README.md").unlink()
    assert "README.md is missing" in outcomes(tmp_path)["small/manifest.json"]
    replace(small_network(), rounding="half_even").save(
        tmp_path / "models/integer/small.safetensors"
    )
    write_bundle(folder, small_network(), dataset(small_network()), 2, ("course",))
    lines = outcomes(tmp_path)
    assert "arithmetic is not the network's" in lines["small/manifest.json"]
    assert lines["small/golden.npz"].startswith("differs: layers.0.output:")


def test_a_folder_in_the_place_of_a_manifest_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / manifest.FILE
    path.mkdir()
    with pytest.raises(ValueError, match=": no manifest .Is a directory.; export again$") as error:
        manifest.load(tmp_path)
    assert str(error.value).count(str(path)) == 1


def test_a_manifest_that_was_edited_is_seen_by_its_own_digest(tmp_path: Path) -> None:
    folder = project(tmp_path, small_network(), ("course",))
    path = folder / manifest.FILE
    assert outcomes(tmp_path) == {}
    path.write_bytes(path.read_bytes() + b"\n")
    expected = "differs: manifest.json is not as its own sha256 says; export again"
    assert outcomes(tmp_path)["small/manifest.json"] == expected


def test_what_needs_a_missing_tool_is_skipped_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, small_network(), PLAIN)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert outcomes(tmp_path) == {
        "small/network.c": "skipped: cc or gcc or clang is not installed",
        "small/memory": "skipped: iverilog is not installed",
    }


def test_what_is_left_out_is_said_and_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path, small_network(per_channel=True), ("course", "qdq"))
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("small/course: left out: weight.bin: layer 0 has shifts")
    assert not [line for line in lines if ".bin:" in line.partition(" ")[0]]


def test_without_the_data_set_the_golden_images_are_run(tmp_path: Path) -> None:
    project(tmp_path, small_network(), ("course", "onnx"))
    (tmp_path / "data/dataset.npz").unlink()
    lines = dict(verify(tmp_path, []))
    assert lines["small/network.onnx"] == "2 images equal, 2 on onnx's reference"
    assert lines["small/input.bin"] == "skipped: no data set to compare its images with"


def test_nothing_exported_and_an_unknown_scheme_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="^1$"):
        main([])
    assert "exports: holds no export; run the export stage first" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="^1$"):
        main(["nosuch"])
    assert "nosuch" in capsys.readouterr().err


ENDS = {
    "int32, then flatten": ("int32", ()),
    "codes, then flatten": ("codes", ()),
    "codes, then a pool and flatten": ("codes", (Layer("maxpool2d", kernel=2, stride=2),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
@pytest.mark.parametrize(("logits", "between"), ENDS.values(), ids=ENDS)
def test_logits_may_come_out_of_a_convolution(
    logits: str, between: tuple[Layer, ...], rounding: str, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(1)
    kernel = 31 if between else 32  # 2×2 or 1×1 outputs a channel
    last = Layer(
        "conv2d",
        torch.randint(-127, 128, (5, 3, kernel, kernel), generator=generator).to(torch.int8),
        torch.randint(-3000, 3000, (5,), generator=generator).to(torch.int32),
        weight_exponent=as_exponents(-7),
        weight_format=WeightFormat(8),
        input=ActivationQParams(-7),
        output=ActivationQParams(0) if logits == "codes" else None,
        kernel=kernel,
    )
    layers = (last, *between, Layer("flatten"))
    network = network_of(*layers, rounding=rounding, shape=(3, 32, 32), classes="abcde")
    project(tmp_path, replace(network, scheme="small"))
    differ = {file: said for file, said in outcomes(tmp_path).items() if "differs" in said}
    assert differ == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network.onnx", "network.qdq.onnx", "network.qonnx.onnx"])
@pytest.mark.parametrize("damage", [lambda x: x[:-500], lambda _: b"", lambda _: b"\xff" * 99])
def test_a_damaged_model_is_a_difference_and_the_rest_is_checked(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    folder = project(tmp_path, small_network(), ("onnx", "qdq", "qonnx"))
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    said = dict(verify(tmp_path, []))
    assert said[f"small/{name}"].startswith("differs: no valid ONNX model (")
    assert len(said) == 5  # with the manifest and the golden vectors
