"""Published runs: whole, honest about what made them, and shown as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import metrics_tree
import pytest
import torch
import yaml
from closure import ROOT
from export_cases import dataset, small_network

from powtwo.core import files
from powtwo.export import bundle
from powtwo.report import results
from powtwo.sidecar import schema as params
from powtwo.tools import evaluate_network, export_network, presets, publish, published, publishing

SCHEMES = ("lab", "minmax-ceil")


def write_run(root: Path, seed: int = 0, best: str = "lab") -> None:
    """Write what a run of the pipeline leaves, with networks to copy and stand-ins for pictures."""
    metrics_tree.write(root, SCHEMES)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["seed"], values["export"]["schemes"] = seed, []
    values["schemes"] = {name: values["schemes"][name] for name in SCHEMES}
    files.write_text(root / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    files.write_text(root / "dvc.lock", "schema: '2.0'\n")
    files.write_text(root / "plots/schemes.png", "a picture")
    files.write_json(root / "metrics/download.json", {
        "name": "mnist5k", "train_images": 3600, "validation_images": 400, "test_images": 1000,
        "sha256": "ab",
    })  # fmt: skip
    log = {"seconds": 40.0 + seed, "cpus": 2, "machine": "x86_64", "torch": "2.13.0"}
    files.write_json(root / "logs/train.json", log)
    for name in SCHEMES:
        path = root / f"metrics/evaluate/{name}.json"
        found = files.read_json(path)
        found |= {"accuracy": 0.1 if name == best else 1.0 - seed / 100}
        found |= {"validation_accuracy": 0.95 if name == best else 0.9}
        files.write_json(path, found)
        (root / "models/integer").mkdir(parents=True, exist_ok=True)
        small_network().save(root / f"models/integer/{name}.safetensors")
    compare(root)


def compare(root: Path) -> None:
    """Write what the stage compare makes of the metrics."""
    found = results.read(root, SCHEMES)
    rows = {scheme.name: scheme.row for scheme in found.schemes}
    files.write_json(
        root / "metrics/compare.json", {"energy_table": found.energy_table, "schemes": rows}
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(publishing, "check_up_to_date", lambda _: None)
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_folder_has_the_whole_run(root: Path) -> None:
    assert publish.main(["a-run"]) == 0
    found = contents(root / "results/a-run")
    measured = [p for p in contents(root) if p.startswith(("metrics/", "plots/"))]
    assert set(found) == {*measured, "params.yaml", "dvc.lock", "run.json", "lab.safetensors"}
    for name in (*measured, "params.yaml", "dvc.lock"):
        assert found[name] == (root / name).read_bytes()
    assert found["lab.safetensors"] == (root / "models/integer/lab.safetensors").read_bytes()
    about = files.read_json(root / "results/a-run/run.json")
    assert about["stages"]["train"] == files.read_json(root / "logs/train.json")
    assert about["stages"]["evaluate-lab"] is None


def test_calibration_seeds_are_published_with_their_run_alone(root: Path) -> None:
    own = files.read_json(root / "metrics/evaluate/lab.json")["accuracy"]
    head, rows = ("scheme", "metric", "seed_0", "seed_1"), [("lab", "accuracy", own, 0.5)]
    files.write_csv(root / "logs/seeds.csv", head, rows)
    kept = root / "results/x" / publishing.SEEDS
    publishing.publish(root, "x")
    assert kept.read_bytes() == (root / "logs/seeds.csv").read_bytes()
    (root / "logs/seeds.csv").unlink()
    publishing.publish(root, "x")  # again: what was published stays
    assert kept.is_file()
    files.write_csv(kept, head, [("lab", "accuracy", own + 0.001, 0.5)])
    publishing.publish(root, "x")  # but not beside another run
    assert not kept.exists()
    files.write_csv(root / "logs/seeds.csv", head, [("gone", "accuracy", own, 0.5)])
    publishing.publish(root, "x")
    assert not kept.exists()


def test_a_network_file_is_exported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = small_network(weight_bits=5)
    network.save(root / "five.safetensors")
    images = dataset(network)
    images.save(root / "images.npz")
    before = contents(root)
    given = ["--network", "five.safetensors", "--data", "images.npz"]
    export_network.main([*given, "--out", "a/b"])
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("a/b: scheme small as c99, ")
    written = contents(root / "a/b")
    formats = [name for name in bundle.FORMATS if name in said[-1].partition(" as ")[2].split(", ")]
    assert written == bundle.make(network, images, 4, formats)
    left_out = set(bundle.FORMATS) - set(formats)
    assert len(said) == 1 + len(left_out)
    assert all(line.startswith("left out: ") for line in said[:-1])
    assert {name for name in contents(root) if not name.startswith("a/b/")} == set(before)
    export_network.main(given)
    assert contents(root / "build/export/small") == written
    files.write_text(root / "mine/thesis.txt", "years of work")
    (root / "empty").mkdir()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        export_network.main([*given, "--out", "mine"])
    assert (
        capsys.readouterr().err == "export: --out = mine: holds something else; name a new folder\n"
    )
    assert (root / "mine/thesis.txt").is_file()
    export_network.main([*given, "--out", "empty"])
    assert contents(root / "empty") == written
    with pytest.raises(SystemExit):
        export_network.main(["--network", "params.yaml"])
    assert "export: params.yaml: no safetensors file" in capsys.readouterr().err


@pytest.mark.parametrize("best", SCHEMES)
def test_validation_images_choose_and_test_images_do_not(root: Path, best: str) -> None:
    write_run(root, best=best)  # which has the other scheme better on test images
    assert publishing.publish(root, "x")[0]["scheme"] == best


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "epochs", 3),
        ("data", "name", "images"),
        ("calibrate", "images", 3),
        ("evaluate", "sensitivity_images", 3),
    ],
)
def test_a_preset_s_name_is_for_its_own_recipe(
    root: Path, monkeypatch: pytest.MonkeyPatch, section: str, key: str, value: object
) -> None:
    recipe = params.load(root / "params.yaml")
    monkeypatch.setattr(presets, "names", lambda _: ["mine"])
    monkeypatch.setattr(presets, "parameters", lambda name, *_: {"mine": recipe}[name])
    publishing.publish(root, "mine")
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    values[section][key] = value
    files.write_text(root / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    for name in ("mine", "mine-seed1"):
        shutil.rmtree(root / "results")
        with pytest.raises(ValueError, match=rf"NAME = {name}: preset mine has another {section}"):
            publishing.publish(root, name)
        publishing.publish(root, "another")


@pytest.mark.parametrize("name", ["", "A", "a_b", "../a", "a/b", "a b", "a\n"])
def test_a_bad_name_is_refused(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([name]) == 1
    assert "must be of a-z, 0-9 and -" in capsys.readouterr().err
    assert not (root / "results").exists()


@pytest.mark.parametrize(
    "missing", ["metrics/evaluate/lab.json", "metrics/train.json", "metrics/download.json",
                "metrics/compare.json", "plots/energy/lab.csv"],
)  # fmt: skip
def test_a_missing_metric_is_refused(
    root: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / missing).unlink()
    assert publish.main(["x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"publish: {missing}: no such file; ")
    assert said.count("\n") == 1
    assert not (root / "results").exists()


def test_a_name_is_replaced_whole_and_it_is_said(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("full")

    assert publish.main(["x"]) == 0
    assert "results/x: published" in capsys.readouterr().out
    files.write_text(root / "results/x/old.txt", "old")
    before = contents(root / "results")
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_json", fail)
        assert publish.main(["x"]) == 1
    assert contents(root / "results") == before
    assert publish.main(["x"]) == 0
    assert "results/x: replaced" in capsys.readouterr().out
    assert "x/old.txt" not in contents(root / "results")


def test_a_log_of_another_run_is_not_believed(root: Path) -> None:
    written = (root / "metrics/train.json").stat().st_mtime
    for age, known in ((50, True), (70, False)):
        os.utime(root / "logs/train.json", (written - age, written - age))
        about, _ = publishing.publish(root, "x")
        assert (about["stages"]["train"] is not None) == known
    assert "| unknown | unknown |" in published.table(root)


def test_the_table_has_a_line_a_recipe(root: Path) -> None:
    assert published.table(root) == ""
    publishing.publish(root, "x")
    line = published.table(root).splitlines()[-1]
    assert line.startswith(
        "| `x` | 1 | `mnist5k`: 3,600, 400, 1,000 | 2 | 94.50% | `lab` | 10.00%"
    )
    assert line.endswith("| 0.083 | 13.90 | `lab` | 40 | 2 × x86_64, PyTorch 2.13.0 |")
    write_run(root, seed=2)
    publishing.publish(root, "x-seed2")
    line = published.table(root).splitlines()[-1]
    assert line.startswith("| `x` | 2 | ")
    # Two values d apart: the mean is halfway, the sample deviation d / sqrt(2).
    assert "| `lab` | 10.00% |" in line
    assert "| 41 ± 1 |" in line
    assert published.spread([0.9, 0.92], ".2%") == f"91.00% ± {0.02 / 2**0.5:.2%}"


def test_means_over_seeds_choose_one_scheme_for_all(root: Path) -> None:
    for seed, best in enumerate(("lab", "minmax-ceil", "minmax-ceil")):
        write_run(root, seed=seed, best=best)
        publishing.publish(root, f"x-seed{seed}" if seed else "x")
    line = published.table(root).splitlines()[-1]
    # On validation 0.933 on average, where `lab` has 0.917; on test images 1.0, 0.1 and 0.1.
    assert "| `minmax-ceil` | 40.00% ± 51.96% |" in line


@pytest.mark.parametrize(
    ("device", "processes", "threads", "said"),
    [
        ("cpu", 1, 2, "2 threads, EPYC, bfloat16, PyTorch 2.13.0"),
        ("cpu", 4, 1, "4 processes of 1 thread, EPYC, bfloat16, PyTorch 2.13.0"),
        ("cuda", 4, 2, "4 × H100, bfloat16, PyTorch 2.13.0"),
    ],
)
def test_the_table_says_what_trained_and_all_its_time(
    root: Path, device: str, processes: int, threads: int, said: str
) -> None:
    log = files.read_json(root / "logs/train.json")
    log |= {"device": device, "device_name": "H100", "processor": "EPYC", "precision": "bfloat16",
            "processes": processes, "threads": threads, "cpus": 16,
            "earlier_seconds": 60.0}  # fmt: skip
    files.write_json(root / "logs/train.json", log)
    publishing.publish(root, "x")
    assert published.table(root).endswith(f"| 100 | {said} |")


def test_the_table_has_the_prices_by_which_the_run_was_compared(root: Path) -> None:
    path = root / "metrics/energy/lab.json"
    unpriced = {"integer_uj": None, "ratio": None, "unpriced": "int4_add"}
    wider = {**files.read_json(path), "table": "qtools", "integer_uj": 9.0, "ratio": 20.0}
    for name in SCHEMES:
        path = root / f"metrics/energy/{name}.json"
        files.write_json(path, files.read_json(path) | unpriced | {"all_widths": wider})
    compare(root)
    publishing.publish(root, "x")
    assert "| 9.000 | 20.00 | `qtools` |" in published.table(root)


def test_seeds_of_a_recipe_differ_in_the_seed_alone(root: Path) -> None:
    publishing.publish(root, "x")
    with pytest.raises(ValueError, match="results/x: has seed 0 too; change seed"):
        publishing.publish(root, "x-seed1")
    write_run(root, seed=1)
    path = root / "params.yaml"
    honest = path.read_text(encoding="utf-8")
    path.write_text(honest.replace("epochs: ", "epochs: 1"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"results/x: has another train\.epochs; "):
        publishing.publish(root, "x-seed1")
    assert not (root / "results/x-seed1").exists()
    path.write_text(honest, encoding="utf-8")
    publishing.publish(root, "x-seed1")


def test_dvc_says_whether_the_run_is_up_to_date(tmp_path: Path) -> None:
    def dvc(*words: str) -> None:
        command = [sys.executable, "-m", "dvc", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    with pytest.raises(ValueError, match="^dvc status: .*; mend it, and publish again$"):
        publishing.check_up_to_date(tmp_path)
    dvc("init", "--no-scm")
    stage = "stages:\n  copy:\n    cmd: cp a b\n    deps: [a]\n    outs: [b]\n"
    files.write_text(tmp_path / "dvc.yaml", stage)
    files.write_text(tmp_path / "a", "1")
    dvc("repro")
    publishing.check_up_to_date(tmp_path)
    files.write_text(tmp_path / "a", "2")
    with pytest.raises(ValueError, match="^not up to date: copy; run `inv repro` first$"):
        publishing.check_up_to_date(tmp_path)


def test_code_that_is_of_no_commit_is_listed_by_file(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    files.write_text(tmp_path / "src/a.py", "1")
    files.write_text(tmp_path / "src/b.py", "1")
    git("add", ".")
    git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-m", "x")
    assert publishing._changed(tmp_path) == []
    files.write_text(tmp_path / "src/b.py", "2")
    files.write_text(tmp_path / "src/c.py", "1")
    files.write_text(tmp_path / "README.md", "is no code")
    assert publishing._changed(tmp_path) == ["src/b.py", "src/c.py"]


def test_git_keeps_published_networks_as_they_are() -> None:
    path = "results/x/lab.safetensors"
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    assert ignored.returncode == 1
    command = ["git", "check-attr", "text", path]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert said.stdout.strip().endswith("text: unset")


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
    assert "params.yaml: no safetensors file" in capsys.readouterr().err
