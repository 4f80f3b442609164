"""Publishing a run: whole or not at all, and under a name that is its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from closure import ROOT
from published_run import contents, write_run

from powtwo.core import files
from powtwo.tools import publish, published, status

FIGURES = {
    "params.yaml", "dvc.lock", "run.json", "metrics/download.json", "metrics/train.json",
    "metrics/accuracy.json", "metrics/compare.json", "metrics/evaluate/lab.json",
    "metrics/evaluate/minmax-ceil.json", "plots/schemes.csv", "plots/energy-sensitivity.csv",
    "plots/training.csv", "plots/layers/lab.csv", "plots/layers/minmax-ceil.csv",
}  # fmt: skip
REPORT = {"lab.safetensors", "report/index.html", "plots/energy/lab.csv", "plots/schemes.png"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(status, "changes", lambda _: {})
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path)


@pytest.mark.parametrize(("name", "more"), [("x", REPORT), ("x-seed3", set())])
def test_a_run_has_all_of_it_and_a_further_seed_its_figures(
    root: Path, name: str, more: set[str]
) -> None:
    publish.main([name])
    kept = contents(root / "results" / name)
    assert set(kept) == FIGURES | more
    for path in set(kept) - {"run.json", "lab.safetensors"}:
        assert kept[path] == (root / path).read_bytes()
    info = files.read_json(root / "results" / name / "run.json")
    assert info["stages"]["train"] == files.read_json(root / "logs/train.json")
    if info["network"]:
        assert kept[info["network"]] == (root / "models/integer/lab.safetensors").read_bytes()


def test_networks_of_other_schemes_are_kept_where_they_are_asked_for(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = root / "models/integer/minmax-ceil.safetensors"
    other.write_bytes(b"another network")
    publish.main(["x", "--also", "minmax-ceil", "--also", "lab"])
    kept = contents(root / "results/x")
    assert set(kept) == FIGURES | REPORT | {other.name}
    assert kept[other.name] == other.read_bytes()
    with pytest.raises(SystemExit, match="^1$"):
        publish.main(["x", "--also", "w9"])
    assert "--also = 'w9': must be one of lab, minmax-ceil" in capsys.readouterr().err


@pytest.mark.parametrize("best", ["lab", "minmax-ceil"])
def test_validation_images_choose_and_test_images_do_not(root: Path, best: str) -> None:
    write_run(root, best=best)  # which has the other scheme better on test images
    assert publish.publish(root, "x")["scheme"] == best
    assert (root / f"results/x/{best}.safetensors").is_file()


def test_a_run_that_is_not_up_to_date_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "changes", lambda _: {"train": [], "compare": []})
    with pytest.raises(SystemExit, match="^1$"):
        publish.main(["x"])
    said = capsys.readouterr().err
    assert said == "publish: not up to date: train, compare; run `inv repro` first\n"
    assert not (root / "results").exists()


@pytest.mark.parametrize("name", ["", "A", "a_b", "../a", "a/b", "a b", "a\n"])
def test_a_bad_name_is_refused(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^1$"):
        publish.main([name])
    assert "must be of a-z, 0-9 and -" in capsys.readouterr().err
    assert not (root / "results").exists()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "epochs", 3),
        ("data", "name", "images"),
        ("calibrate", "images", 3),
        ("evaluate", "sensitivity_images", 3),
    ],
)
@pytest.mark.parametrize("name", ["mnist5k", "mnist5k-seed1"])
def test_a_preset_s_name_is_for_its_own_recipe(
    root: Path, name: str, section: str, key: str, value: object
) -> None:
    shutil.copytree(ROOT / "presets", root / "presets")
    publish.publish(root, name)
    shutil.rmtree(root / "results")
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    values[section][key] = value
    files.write_text(root / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ValueError, match=f"NAME = {name}: preset mnist5k has another {section}"):
        publish.publish(root, name)
    publish.publish(root, "another")


def test_seeds_of_a_recipe_differ_in_the_seed_alone(root: Path) -> None:
    publish.publish(root, "x")
    with pytest.raises(ValueError, match="results/x: has seed 0 too; change seed"):
        publish.publish(root, "x-seed1")
    metrics = files.read_json(write_run(root, seed=1) / "metrics/download.json")
    files.write_json(root / "metrics/download.json", metrics | {"sha256": "cd"})
    with pytest.raises(ValueError, match="results/x: has another images; "):
        publish.publish(root, "x-seed1")
    assert not (root / "results/x-seed1").exists()
    files.write_json(root / "metrics/download.json", metrics)
    publish.publish(root, "x-seed1")


def test_a_run_from_before_there_were_sizes_is_of_the_same_recipe(root: Path) -> None:
    publish.publish(root, "x")
    values = yaml.safe_load((root / "results/x/params.yaml").read_text(encoding="utf-8"))
    for key in ("size", "channels", "resize", "mean", "std"):
        del values["data"][key]
    files.write_text(root / "results/x/params.yaml", yaml.safe_dump(values))
    write_run(root, seed=1)
    publish.publish(root, "x-seed1")
    small = (root / "params.yaml").read_text(encoding="utf-8").replace("size: 32", "size: 40")
    files.write_text(write_run(root, seed=2) / "params.yaml", small.replace("seed: 1", "seed: 2"))
    with pytest.raises(ValueError, match=r"results/x: has another data.size; runs named alike"):
        publish.publish(root, "x-seed2")


def test_a_name_is_replaced_whole_or_not_at_all(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("full")

    publish.main(["x"])
    files.write_text(root / "results/x/old.txt", "old")
    before = contents(root / "results")
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_json", fail)
        with pytest.raises(SystemExit, match="^1$"):
            publish.main(["x"])
    assert contents(root / "results") == before
    publish.main(["x"])
    assert "x/old.txt" not in contents(root / "results")


def test_a_run_of_others_is_replaced_by_force_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish.main(["x"])
    assert capsys.readouterr().out.startswith("results/x: published; ")
    write_run(root, seed=5)
    before = contents(root / "results")
    with pytest.raises(SystemExit, match="^1$"):
        publish.main(["x"])
    rule = "was published with another seed; choose another name, or replace it by --force"
    assert capsys.readouterr().err == f"publish: results/x: {rule}\n"
    assert contents(root / "results") == before
    publish.main(["x", "--force"])
    assert capsys.readouterr().out.startswith("results/x: replaced; ")
    assert published.parameters(root / "results/x")["seed"] == 5


@pytest.mark.parametrize("name", ["params.yaml", "metrics/download.json"])
def test_a_damaged_run_is_replaced_by_force_alone(root: Path, name: str) -> None:
    publish.publish(root, "x")
    (root / "results/x" / name).unlink()
    with pytest.raises(ValueError, match="another state: it is not whole; choose"):
        publish.publish(root, "x")
    publish.publish(root, "x", force=True)
    assert (root / "results/x" / name).is_file()


def test_a_log_of_another_run_is_not_believed(root: Path) -> None:
    written = (root / "metrics/train.json").stat().st_mtime
    for age, known in ((50, True), (70, False)):
        os.utime(root / "logs/train.json", (written - age, written - age))
        assert (publish.publish(root, "x")["stages"]["train"] is not None) == known


def test_calibration_seeds_are_published_with_their_run_alone(root: Path) -> None:
    own = files.read_json(root / "metrics/evaluate/lab.json")["accuracy"]
    head, made = ("scheme", "metric", "seed_0", "seed_1"), root / "logs/seeds.csv"
    kept = root / "results/x" / published.SEEDS
    files.write_csv(made, head, [("lab", "accuracy", own, 0.5)])
    publish.publish(root, "x")
    assert kept.read_bytes() == made.read_bytes()
    for scheme, accuracy in (("lab", own + 0.001), ("gone", own)):  # of another run
        files.write_csv(made, head, [(scheme, "accuracy", accuracy, 0.5)])
        publish.publish(root, "x")
        assert not kept.exists()


def test_changed_code_is_of_no_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    files.write_text(tmp_path / "src/a.py", "1")
    assert publish.commit(tmp_path) is None
    git("add", ".")
    git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-m", "x")
    files.write_text(tmp_path / "README.md", "is no code")
    assert publish.commit(tmp_path) == publish.ask_git("rev-parse", "HEAD", root=tmp_path)
    for name in ("src/a.py", "src/b.py"):
        files.write_text(tmp_path / name, "2")
        assert publish.commit(tmp_path) is None
        git("checkout", "src/a.py")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no Git here")
def test_git_keeps_published_networks_as_they_are() -> None:
    path = "results/x/lab.safetensors"
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    assert ignored.returncode == 1
    command = ["git", "check-attr", "text", path]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert said.stdout.strip().endswith("text: unset")


def test_files_of_a_removed_scheme_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_json(root / "metrics/convert/old.json", {})
    with pytest.raises(SystemExit, match="^1$"):
        publish.main(["x"])
    expected = "publish: metrics/convert/old.json: of a removed scheme; run `inv prune`\n"
    assert capsys.readouterr().err == expected
