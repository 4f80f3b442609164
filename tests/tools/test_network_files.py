"""A published network is exported and evaluated on its images, outside the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from export_cases import dataset, odd_network, small_network
from image_files import pack, png
from published_run import contents, write_run

from powtwo.core import files
from powtwo.export.bundle import FORMATS, bundle_files
from powtwo.tools import evaluate_network, export_network


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path)


def test_a_network_file_is_exported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = small_network(weight_bits=5)
    network.save(root / "five.safetensors")
    images = dataset(network)
    images.save(root / "images.npz")
    before = contents(root)
    given = ["--network", "five.safetensors", "--data", "images.npz"]
    export_network.main([*given, "--out", "a/b"])
    said = capsys.readouterr().out.splitlines()
    assert said == [f"a/b: scheme small as golden vectors, {', '.join(FORMATS)}"]
    written = contents(root / "a/b")
    assert written == bundle_files(network, images, 4, FORMATS)
    assert {name for name in contents(root) if not name.startswith("a/b/")} == set(before)
    export_network.main(given)
    assert contents(root / "build/export/small") == written
    files.write_text(root / "mine/thesis.txt", "years of work")
    (root / "empty").mkdir()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        export_network.main([*given, "--out", "mine"])
    assert capsys.readouterr().err == (
        "export: mine: holds thesis.txt, which no export wrote; move it, or name a new folder\n"
    )
    assert (root / "mine/thesis.txt").is_file()
    export_network.main([*given, "--out", "empty"])
    assert contents(root / "empty") == written
    with pytest.raises(SystemExit):
        export_network.main(["--network", "params.yaml"])
    assert "export: params.yaml: not an integer network" in capsys.readouterr().err


def test_names_and_packing_are_options(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = small_network(weight_bits=4, kind="power_of_two")
    network.save(root / "four.safetensors")
    dataset(network).save(root / "images.npz")
    given = ["--network", "four.safetensors", "--data", "images.npz", "--out", "new"]
    with pytest.raises(SystemExit):
        export_network.main([*given, "--prefix", "my-net"])
    error = capsys.readouterr().err
    assert error.startswith("export: --prefix = 'my-net': must be a C identifier")
    assert error.count("\n") == 1
    assert not (root / "new").exists()
    for options, name, packed in (
        ([], "small", False),
        (["--prefix", "mine", "--packed"], "mine", True),
    ):
        export_network.main([*given, *options])
        header = (root / "new/network.h").read_text("utf-8")
        assert f"void {name}_run(" in header
        assert f"`{name}_run(" in (root / "new/README.md").read_text("utf-8")
        source = (root / "new/network.c").read_text("utf-8")
        assert ("static const uint32_t weight_0" in source) is packed
        assert (root / "new/memory/layer00.weight.packed.hex").exists() is packed
    small_network().save(root / "eight.safetensors")
    capsys.readouterr()
    export_network.main([*given, "--network", "eight.safetensors", "--packed"])
    assert "packed: no weights have 4 bits or fewer; all stay int8\n" in capsys.readouterr().out
    assert '"packed": false' in (root / "new/manifest.json").read_text("utf-8")


def test_what_cannot_be_said_is_left_out_or_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = small_network(per_channel=True)
    network.save(root / "five.safetensors")
    dataset(network).save(root / "images.npz")
    given = ["--network", "five.safetensors", "--data", "images.npz", "--out", "fw"]
    export_network.main(given)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("course left out: weight.bin: layer 0 has shifts by output channel")
    assert "course" not in last
    before = contents(root / "fw")
    with pytest.raises(SystemExit):
        export_network.main([*given, "--strict"])
    said = capsys.readouterr().err
    assert said.startswith("export: weight.bin: layer 0 has shifts")
    assert len(said.splitlines()) == 1
    assert contents(root / "fw") == before


def test_a_network_file_is_evaluated(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = small_network()
    images = dataset(network)
    images.save(root / "images.npz")
    before = contents(root)
    file = "models/integer/lab.safetensors"
    evaluate_network.main(["--network", file, "--data", "images.npz"])
    classes = network.logits(torch.from_numpy(images.x_test)).argmax(1).numpy()
    right = int((classes == images.y_test).sum())
    accuracy = f"{right / 10:.2%} test accuracy ({right} of 10 images)"
    assert capsys.readouterr().out == f"{file}: scheme small, {accuracy}\n"
    assert contents(root) == before  # nothing of the pipeline is touched
    # Without --data, the digits: another ten classes than this network's five.
    with pytest.raises(SystemExit):
        evaluate_network.main(["--network", file])
    assert "a, b, c, d, e, 3x32x32 against 0, 1, 2," in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate_network.main(["--network", "params.yaml"])
    assert "params.yaml: not an integer network" in capsys.readouterr().err


def test_images_are_brought_to_the_shape_of_the_network(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd_network().save(root / "odd.safetensors")  # for 3×9×14, where params.yaml says 32×32
    pictures = {f"{half}/{name}/{n}.png": png(n, (40, 30)) for half in ("train", "test")
              for name in "uvwxyz" for n in range(10)}  # fmt: skip
    pack(root / "images", pictures)
    evaluate_network.main(["--network", "odd.safetensors", "--data", "images"])
    told, said = capsys.readouterr().out.splitlines()
    assert told.startswith("images: 120 × resized to 9×14: ")
    assert said.endswith("of 60 images)")
